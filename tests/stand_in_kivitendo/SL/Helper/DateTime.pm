package SL::Helper::DateTime;
1;
