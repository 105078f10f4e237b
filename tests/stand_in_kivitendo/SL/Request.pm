package SL::Request;
use strict;
use warnings;
sub new { my ($class, %parts) = @_; return bless {%parts}, $class }
sub cgi { return $_[0]{cgi} }
sub layout { return $_[0]{layout} }
1;
