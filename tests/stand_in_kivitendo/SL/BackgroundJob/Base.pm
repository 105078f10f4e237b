package SL::BackgroundJob::Base;
use strict;
use warnings;
sub new { my ($class, %values) = @_; return bless {%values}, $class }
1;
