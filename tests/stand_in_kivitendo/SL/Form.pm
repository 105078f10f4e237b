package Form;

use strict;
use warnings;

sub new { return bless {}, shift }
sub info { print "$_[1]\n" }

sub error {
    my ($self, $message) = @_;
    $self->{__ERROR_HANDLER}->($message) if $self->{__ERROR_HANDLER};
    exit 2;
}

1;
