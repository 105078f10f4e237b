package SL::DB::Invoice;

use strict;
use warnings;

use SL::DB;

sub flatten_to_form {
    my ($self, $form, %params) = @_;
    $form->{$_} = $self->{$_} for keys %$self;
    return $form;
}

package SL::DB::Manager::Invoice;

sub find_by {
    my ($class, %by) = @_;
    my ($row) = SL::DB->client->dbh->rows('SELECT id, invnumber, amount, notes FROM ar WHERE id = ?', $by{id});
    return unless $row;
    my %invoice;
    @invoice{qw(id invnumber amount notes)} = @$row;
    return bless \%invoice, 'SL::DB::Invoice';
}

1;
