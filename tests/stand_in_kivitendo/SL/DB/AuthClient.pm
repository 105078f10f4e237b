package SL::DB::AuthClient;
1;
