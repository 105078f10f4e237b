package Locale;

use strict;
use warnings;

sub new { my ($class, $language) = @_; return bless { countrycode => $language }, $class }

1;
