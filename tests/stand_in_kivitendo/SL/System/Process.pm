package SL::System::Process;
1;
