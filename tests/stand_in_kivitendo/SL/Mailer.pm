package SL::Mailer;
1;
