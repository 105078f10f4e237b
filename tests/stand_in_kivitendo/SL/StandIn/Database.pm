package SL::StandIn::Database;

# A database handle over a psql that runs beside us: do, rows, begin_work, commit, rollback.

use strict;
use warnings;

use IPC::Open3;
use IO::Handle;

my $MARK = '--- answered ---';

sub new {
    my ($class, %access) = @_;
    local $ENV{PGPASSWORD} = $access{password};
    my $psql = $ENV{STAND_IN_PSQL} || 'psql';
    my $pid = open3(my $in, my $out, undef, $psql, '-qAtX', '-F', "\x1f", '-R', "\x1e", '-P', 'null=\\N',
        '-h', $access{host}, '-p', $access{port}, '-U', $access{user}, $access{name});
    binmode $_, ':encoding(UTF-8)' for $in, $out;
    $in->autoflush(1);
    return bless { in => $in, out => $out, pid => $pid, AutoCommit => 1 }, $class;
}

sub quote {
    my ($value) = @_;
    return 'NULL' unless defined $value;
    $value =~ s/'/''/g;
    return "'$value'";
}

sub do {
    my ($self, $sql, undef, @values) = @_;
    $self->_run($sql, @values);
}

sub rows {
    my ($self, $sql, @values) = @_;
    my $answer = $self->_run($sql, @values);
    return map { [map { $_ eq '\\N' ? undef : $_ } split /\x1f/, $_, -1] } split /\x1e/, $answer;
}

sub _run {
    my ($self, $sql, @values) = @_;
    $sql =~ s/\?/quote(shift @values)/ge;
    my $in = $self->{in};
    print $in "$sql;\n\\echo $MARK :ERROR :LAST_ERROR_MESSAGE\n";
    my $answer = '';
    while (defined(my $line = readline $self->{out})) {
        if ($line =~ s/^(.*?)\Q$MARK\E (\w+) ?//s) {
            $answer .= $1;
            chomp $line;
            die "database: $line\n" if $2 eq 'true';
            chomp $answer;
            $answer =~ s/\x1e\z//;
            return $answer;
        }
        $answer .= $line;
    }
    die "the database is gone\n";
}

sub begin_work { $_[0]{AutoCommit} = 0; $_[0]->_run('BEGIN') }
sub commit { $_[0]->_run('COMMIT'); $_[0]{AutoCommit} = 1 }
sub rollback { $_[0]->_run('ROLLBACK'); $_[0]{AutoCommit} = 1 }

1;
