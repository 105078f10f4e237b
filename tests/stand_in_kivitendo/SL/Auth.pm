package SL::Auth;

use strict;
use warnings;

use SL::DB;
use SL::StandIn::Database;

sub new { return bless {}, shift }

sub dbh {
    my ($self) = @_;
    my $access = $::lx_office_conf{'authentication/database'};
    return $self->{dbh} ||= SL::StandIn::Database->new(
        host => $access->{host}, port => $access->{port}, name => $access->{db},
        user => $access->{user}, password => $access->{password},
    );
}

sub set_client {
    my ($self, $id) = @_;
    my ($row) = $self->dbh->rows('SELECT id, name, dbhost, dbport, dbname, dbuser, dbpasswd FROM auth.clients WHERE id = ?', $id);
    return unless $row;
    my %client;
    @client{qw(id name dbhost dbport dbname dbuser dbpasswd)} = @$row;
    return $self->{client} = \%client;
}

sub session_tables_present {
    my ($self) = @_;
    my ($row) = $self->dbh->rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'auth' AND tablename IN ('session', 'session_content')");
    return $row->[0] == 2;
}

sub restore_session { }
sub create_or_refresh_session { return $_[0]{session_id} ||= '0123456789abcdef' x 2 }
sub save_session { $_[0]->dbh->do('INSERT INTO auth.session (id, mtime) VALUES (?, now())', undef, $_[0]{session_id}) }

sub read_user {
    my ($self, %by) = @_;
    my %user = (login => $by{login});
    $user{ $_->[0] } = $_->[1]
      for $self->dbh->rows('SELECT cfg_key, cfg_value FROM auth.user_config c JOIN auth."user" u ON u.id = c.user_id WHERE u.login = ?', $by{login});
    return %user;
}

1;
