package SL::DB::BackgroundJob;

use strict;
use warnings;

use SL::DB;

my @columns = qw(id type package_name data active cron_spec node_id description);

for my $column (@columns) {
    no strict 'refs';
    *{$column} = sub { my $self = shift; $self->{$column} = shift if @_; return $self->{$column} };
}

sub new { my ($class, %values) = @_; return bless {%values}, $class }
sub db { return SL::DB->client }

# flat mappings only
sub data_as_hash {
    my $self = shift;
    if (@_) {
        my %values = ref $_[0] ? %{ $_[0] } : @_;
        $self->data("---\n" . join '', map { "$_: $values{$_}\n" } sort keys %values);
    }
    my $text = defined $self->data ? $self->data : '';
    return { map { /^(\w+):\s*(.*?)\s*$/ ? ($1, $2) : () } split /\n/, $text };
}

sub set_data { my ($self, %more) = @_; $self->data_as_hash({ %{ $self->data_as_hash }, %more }); return $self }

# all columns, as kivitendo's own object layer does
sub save {
    my ($self) = @_;
    my @written = grep { $_ ne 'id' } @columns;
    $self->db->dbh->do('UPDATE background_jobs SET ' . join(', ', map { "$_ = ?" } @written) . ' WHERE id = ?', undef, map({ $self->{$_} } @written), $self->{id});
}

sub update_attributes { my ($self, %values) = @_; $self->{$_} = $values{$_} for keys %values; $self->save }

package SL::DB::Manager::BackgroundJob;

sub find_by {
    my ($class, %by) = @_;
    my ($row) = SL::DB->client->dbh->rows('SELECT ' . join(', ', @columns) . ' FROM background_jobs WHERE id = ?', $by{id});
    return unless $row;
    my %values;
    @values{@columns} = @$row;
    $values{active} = $values{active} eq 't' ? 1 : 0 if defined $values{active};
    return SL::DB::BackgroundJob->new(%values);
}

1;
