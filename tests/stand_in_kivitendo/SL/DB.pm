package SL::DB;

use strict;
use warnings;

use SL::StandIn::Database;

my $client;

sub client {
    die "no client is set\n" unless $::auth && $::auth->{client};
    my $access = $::auth->{client};
    return $client ||= bless {
        dbh => SL::StandIn::Database->new(
            host => $access->{dbhost}, port => $access->{dbport}, name => $access->{dbname},
            user => $access->{dbuser}, password => $access->{dbpasswd},
        )
    }, __PACKAGE__;
}

sub dbh { return $_[0]{dbh} }

1;
