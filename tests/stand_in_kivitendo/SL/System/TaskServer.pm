package SL::System::TaskServer;
1;
