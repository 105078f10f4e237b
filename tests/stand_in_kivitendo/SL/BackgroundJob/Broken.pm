package SL::BackgroundJob::Broken;
use strict;
sub run { my $x = ; }
1;
