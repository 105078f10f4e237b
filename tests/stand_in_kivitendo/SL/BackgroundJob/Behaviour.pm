package SL::BackgroundJob::Behaviour;

# Does what its data says under "how"; the other keys are that behaviour's.

use strict;
use warnings;
use utf8;
use parent 'SL::BackgroundJob::Base';

use FindBin;
use POSIX ();

sub run {
    my ($self, $row) = @_;
    my $data = $row->data_as_hash;
    my $how = $self->can("how_$data->{how}") or die "unknown behaviour\n";
    return $how->($self, $row, $data);
}

# results (jobs.md, 3.3)
sub how_list { return ('one', 'two', 'three') }
sub how_array { return ['1', 2, 'a "quoted\\" text', undef, [3]] }
sub how_hash { return { a => 1 } }
sub how_code { return sub { 1 } }
sub how_nothing { return }
sub how_empty { return '' }
sub how_zero { return 0 }
sub how_long { return 'ä' x 100_000 }
sub how_nul { return "before\0after" }
sub how_unicode { return 'Grüße, 日本語, €, 😀' }
sub how_bytes { return "Gr\xc3\xbc\xc3\x9fe" }
sub how_object { return bless ['übersetzt'], 'SL::BackgroundJob::Behaviour::Text' }

# ends
sub how_die { die 'Äpfel sind aus' }
sub how_die_object { die bless ['ein Ausnahmeobjekt'], 'SL::BackgroundJob::Behaviour::Text' }
sub how_die_empty { die bless [''], 'SL::BackgroundJob::Behaviour::Text' }
sub how_form_error { $::form->error('Fehler im Formular') }
sub how_exit { exit 3 }
sub how_quiet_exit { POSIX::_exit(0) }
sub how_kill { kill 'KILL', $$; sleep 60 }
sub how_loop { 1 while 1 }
sub how_stubborn {
    my ($self, $row, $data) = @_;
    $SIG{TERM} = 'IGNORE';
    if ($data->{file}) {
        my $child = fork;
        unless ($child) {
            POSIX::setpgid(0, 0);
            sleep 1 while 1;
        }
        open my $file, '>', $data->{file} or die;
        print $file "$$ $child\n";
        close $file;
    }
    sleep 1 while 1;
}
sub how_allocate {
    my ($self, $row, $data) = @_;
    my $much = 'x' x $data->{bytes};    # no constant, or Perl does it when it compiles
    return length $much;
}
sub how_missing_module { require Some::Missing::Module }
sub how_broken_pipe {
    open my $program, '|-', '/bin/false' or die $!;
    sleep 1;
    syswrite $program, 'a mail' x 100_000;
    close $program;
    return 'still alive';
}

# children
sub how_children { return join ' ', map { (split '/', readlink "/proc/$_/exe")[-1] } _children() }
sub how_grandchild {
    my ($self, $row, $data) = @_;
    unless (fork) {
        POSIX::setsid() if $data->{hidden};
        %ENV = () if $data->{hidden};
        unless (fork) {
            $SIG{TERM} = 'IGNORE' if $data->{hidden};
            open my $file, '>', $data->{file} or die;
            print $file $$;
            close $file;
            # the cleared environment takes effect for what it starts
            exec '/bin/sleep', '600' unless $data->{hidden};
            exec '/bin/sh', '-c', 'trap "" TERM; while :; do sleep 1; done';
        }
        POSIX::_exit(0);
    }
    wait;
    select undef, undef, undef, 0.05 until -s $data->{file};
    return 'left somebody behind';
}

# output
sub how_print { print "auf der Standardausgabe\n"; print STDERR "auf der Fehlerausgabe\n"; $::form->info('vom Formular'); return 'printed' }
sub how_report_lookalike { print qq({"status":"failure","error":"not mine"}\n); return 'true result' }
sub how_flood { my $line = 'x' x 99 . "\n"; print $line x 10_000 for 1 .. 50; return 'flooded' }
sub how_binary { print join '', map { chr } 0 .. 255; return 'printed' }

# the database
sub how_progress {
    my ($self, $row, $data) = @_;
    my $dbh = $row->db->dbh;
    for my $step (1 .. 3) {
        $row->set_data(step => $step);
        $dbh->do('UPDATE background_jobs SET data = ? WHERE id = ?', undef, $row->data, $row->id);
        $dbh->do("SELECT pg_notify('stand_in', ?)", undef, $step);
        # goes on when the test has seen it
        select undef, undef, undef, 0.02 until -e "$data->{folder}/seen_$step";
    }
    return 'three steps';
}
sub how_change_data { my ($self, $row) = @_; $row->set_data(status => 'fertig'); return 'changed' }
sub how_change_data_and_die { my ($self, $row) = @_; $row->set_data(status => 'halb'); die "half way\n" }
sub how_open_transaction {
    my ($self, $row) = @_;
    $row->db->dbh->begin_work;
    $row->db->dbh->do("UPDATE background_jobs SET description = 'never' WHERE id = ?", undef, $row->id);
    $row->set_data(status => 'offen');
    return 'left open';
}
sub how_edited_meanwhile {
    my ($self, $row) = @_;
    $row->db->dbh->do("UPDATE background_jobs SET cron_spec = '1 1 * * *' WHERE id = ?", undef, $row->id);
    $row->set_data(status => 'fertig');
    return 'done';
}
sub how_session_file {
    my ($self, $row, $data) = @_;
    mkdir "users/session_files/$::auth->{session_id}" or die "$!";
    return 'wrote';
}

# what the environment looks like
sub how_environment {
    my ($self, $row) = @_;
    return join "\n", "login=$::myconfig{login}", "email=$::myconfig{email}", "language=$::locale->{countrycode}",
      "client=$::auth->{client}{id}", "scripts=$FindBin::Bin", 'cwd=' . POSIX::getcwd(), "first=$INC[0]", "last=$INC[-1]",
      'stdin=' . (defined(my $line = <STDIN>) ? 'text' : 'empty'), 'cgi=' . ref($::request->cgi), 'descriptors=' . join(',', _descriptors());
}

sub _children {
    open my $in, '<', "/proc/self/task/$$/children" or die $!;
    return split ' ', <$in>;
}

sub _descriptors {
    opendir my $folder, '/proc/self/fd' or die;
    my $own = fileno $folder;
    return map { readlink("/proc/self/fd/$_") =~ /^(\w+)/ ? $1 : 'file' } sort { $a <=> $b } grep { /^\d+$/ && $_ != $own && $_ > 2 } readdir $folder;
}

package SL::BackgroundJob::Behaviour::Text;
use overload '""' => sub { $_[0][0] }, fallback => 1;

1;
