package SL::BackgroundJob::Test;

use strict;
use warnings;
use parent 'SL::BackgroundJob::Base';

sub run {
    my ($self, $row) = @_;
    my $data = $row->data_as_hash;
    $::lxdebug->message(0, 'Test job ID ' . $row->id . ' is being executed.');
    die 'Oh cruel world: ' . $data->{exception} if $data->{exception};
    return exists $data->{result} ? $data->{result} : 1;
}

1;
