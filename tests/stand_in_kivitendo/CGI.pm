package CGI;
sub import { }
sub new { return bless {}, shift }
1;
