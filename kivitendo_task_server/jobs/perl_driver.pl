# Runs one piece of kivitendo's Perl for kivitendo-task-server, and reports how it ended.
#
#     perl perl_driver.pl REQUEST_DESCRIPTOR REPORT_DESCRIPTOR
#
# The request is one line of JSON on the first descriptor. Our parent keeps that descriptor open as
# long as it lives, so its end of file means that nobody waits for us any more. The report is one
# line of JSON on the second descriptor: {"status":"success"|"failure", "result":…, "error":…,
# "data":…}. Standard output and standard error belong to the job; the parent logs them. A process
# that ends without a report has failed, and the parent says so.
#
# Written from jobs.md, 3.1 to 3.3. Needs Perl 5.10 and nothing but core modules before kivitendo's.

use strict;
use warnings;

my ($request_descriptor, $report_descriptor) = @ARGV;
@ARGV = ();

open my $requests, '<&=', $request_descriptor or die "no request descriptor: $!\n";
open my $reports,  '>&=', $report_descriptor  or die "no report descriptor: $!\n";

# a failing mail program must not end us without a report; a handler, unlike IGNORE, is not
# inherited by the programs that jobs start
$SIG{PIPE} = sub { };

unless (eval { require JSON::PP; require Fcntl; require POSIX; require FindBin; 1 }) {
    (my $error = $@) =~ s/[^ -~]|["\\]/ /g;
    syswrite $reports, qq({"status":"failure","error":"$error"}\n);
    exit 1;
}

fcntl $reports,  Fcntl::F_SETFD(), Fcntl::FD_CLOEXEC();
fcntl $requests, Fcntl::F_SETFD(), Fcntl::FD_CLOEXEC();

my $request;
my %session_files;              # those that were there before
my ($row, $data_before);        # the job's, and its data as it was

# ---- the process -------------------------------------------------------------------------------

# If the parent vanishes (kill -9) nobody would enforce the limits or record the run, and the job
# would be started a second time beside us: a small guard then kills our whole session. It is no
# child of ours (two forks), or a job that waits for all its children would wait for ever.
sub die_with_parent {
    my $group = $$;    # our parent made us the leader of a session, which has our number
    my $child = fork;
    die "fork: $!\n" unless defined $child;
    if ($child) {
        waitpid $child, 0;
        return;
    }
    POSIX::_exit(0) if fork;
    POSIX::setpgid(0, 0);
    close $reports;
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
    $0 = 'kivitendo-task-server: guard of a Perl job';    # process_family.py knows it by this title
    1 while sysread $requests, my $ignored, 4096;
    kill 'KILL', $group;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $in, '<', $file or next;
        my $stat = <$in>;
        my ($pid) = $file =~ /(\d+)/;
        # behind the name, which may contain anything: state, parent, group, session
        my $session = defined $stat && $stat =~ /.*\) \S+ \d+ \d+ (\d+) /s ? $1 : 0;
        kill 'KILL', $pid if $session == $group && $pid != $$;
    }
    POSIX::_exit(0);
}

sub write_report {
    my ($report) = @_;
    my $line = JSON::PP->new->ascii->canonical->encode($report) . "\n";
    while (length $line) {
        my $written = syswrite $reports, $line;
        if (!defined $written) {
            next if $!{EINTR};
            die "cannot report: $!\n";
        }
        substr $line, 0, $written, '';
    }
    close $reports;
}

# ---- kivitendo's environment for one tenant (jobs.md, 3.1) ---------------------------------------

sub set_up {
    my $directory = $request->{directory};
    chdir $directory or die "cannot change to $directory: $!\n";
    unshift @INC, "$directory/modules/override";
    push @INC, $directory;
    push @INC, "$directory/modules/fallback" if -d "$directory/modules/fallback";    # to 3.5.3
    # kivitendo looks upwards from here for its own directory
    { no warnings 'once'; $FindBin::Bin = $FindBin::RealBin = "$directory/scripts"; }
    for my $locale ('de_DE.UTF-8', 'en_US.UTF-8') {
        next unless POSIX::setlocale(POSIX::LC_CTYPE(), $locale);
        $ENV{LC_CTYPE} = $locale;
        last;
    }

    # SL::Auth first: it decides which YAML reader the others find (task-server.md, e.5)
    require CGI;
    CGI->import('-no_xhtml');
    load_class($_)
      for qw(DateTime SL::Auth SL::DB::BackgroundJob SL::Form SL::InstanceConfiguration SL::LXDebug
      SL::LxOfficeConf SL::Locale SL::Mailer SL::Request Template);
    # not in every release
    load_class($_)
      for grep { is_there($_) } qw(SL::DB::AuthClient SL::Helper::DateTime SL::Layout::None
      SL::System::Process SL::System::TaskServer);

    no warnings 'once';
    SL::LxOfficeConf->read($request->{config_file});
    $::lxdebug = LXDebug->new;
    $::locale  = Locale->new($::lx_office_conf{system}{language} || 'de');
    $::form    = Form->new;
    $::auth    = SL::Auth->new;
    if (defined $request->{client_id}) {
        $::auth->set_client($request->{client_id})
          or die "There is no client with the ID $request->{client_id}.\n";
    }
    $::form->{__ERROR_HANDLER} = sub { die @_ };
    $::instance_conf = SL::InstanceConfiguration->new;
    my $cgi = CGI->new({});
    my @layout = SL::Layout::None->can('new') ? (layout => SL::Layout::None->new) : ();
    $::request =
      SL::Request->can('new')
      ? SL::Request->new(cgi => $cgi, @layout)
      : { cgi => $cgi };    # before 3.2
    $::auth->session_tables_present
      or die "The authentication database has no session tables.\n";
    $::auth->restore_session;
    $::auth->create_or_refresh_session;
    $session_files{$_} = 1 for glob 'users/session_files/*';
    %::myconfig = $::auth->read_user(login => $request->{login});
    $::locale = Locale->new($::myconfig{countrycode}) if $::myconfig{countrycode};
}

# Names come from the request only after the parent has checked them, and from constants.
sub load_class {
    my ($class) = @_;
    $class =~ /\A[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z0-9_]+)*\z/ or die "no class name: $class\n";
    my $file = file_of($class);
    require $file;
}

sub file_of {
    my ($class) = @_;
    (my $file = "$class.pm") =~ s{::}{/}g;
    return $file;
}

sub is_there {
    my ($class) = @_;
    return grep { !ref && -f "$_/" . file_of($class) } @INC;
}

sub database {
    return SL::DB->client->dbh if SL::DB->can('client');
    return $row->db->dbh if $row;
    return undef;    # never got that far
}

sub roll_back {
    my $database = database();
    $database->rollback if $database && !$database->{AutoCommit};
}

# The session row is only needed where a job left files for the web interface; a row for every run
# would be kivitendo's bug 208.
sub keep_session_files {
    no warnings 'once';
    return unless $::auth;
    $::auth->save_session if grep { !$session_files{$_} } glob 'users/session_files/*';
}

# ---- command: run one job ------------------------------------------------------------------------

sub run_job {
    my $class = "SL::BackgroundJob::$request->{package_name}";
    load_class($class);
    $row = SL::DB::Manager::BackgroundJob->find_by(id => $request->{job_id})
      or die "The background job with the ID $request->{job_id} does not exist any more.\n";
    $data_before = $row->data;
    my $result = $class->new->run($row);    # scalar context: a list gives its last element
    return (result => as_result($result), data => changed_data());
}

# Jobs store progress and results in their row's data; some save it themselves, some leave it to
# the task server. Only this column is written, and only if the job changed it: the other columns
# may have been edited meanwhile. Whatever the job left open is rolled back before.
sub changed_data {
    return undef unless $row;
    my $data = $row->data;
    return undef if (defined $data ? $data : "\0") eq (defined $data_before ? $data_before : "\0");
    roll_back();
    database()->do('UPDATE background_jobs SET data = ? WHERE id = ? AND data IS DISTINCT FROM ?',
        undef, $data, $request->{job_id}, $data);
    return as_text($data);
}

# ---- command: render one invoice -----------------------------------------------------------------

# Which template it is to be, our parent has found out. How kivitendo is asked to render is an
# assumption of ours, the only one in this file: our specification does not tell it. All of it is
# here; an installation that does it in another way fails with Perl's message, and the delivery
# stays pending.
sub render_invoice {
    load_class($_) for qw(SL::DB::Invoice SL::Helper::CreatePDF);
    my $id = $request->{invoice_id};
    my $invoice = SL::DB::Manager::Invoice->find_by(id => $id)
      or die "The invoice with the ID $id does not exist any more.\n";
    my $variables = Form->new;
    $invoice->flatten_to_form($variables, format_amounts => 1);
    my $pdf = SL::Helper::CreatePDF->create_pdf(
        template  => $request->{template},
        variables => $variables,
        return    => 'file_name',
    );
    die "No PDF file was created.\n" unless defined $pdf && -s $pdf;
    require File::Copy;
    File::Copy::move($pdf, $request->{file}) or die "cannot move $pdf to $request->{file}: $!\n";
    return ();
}

# ---- values --------------------------------------------------------------------------------------

# What the original makes of a return value when it stores it (task-server.md, e.3).
sub as_result {
    my ($value) = @_;
    return undef unless defined $value;
    return as_array_text($value) if ref $value eq 'ARRAY';
    die 'Cannot bind a reference: the job returned a reference of type ' . ref($value) . "\n"
      if ref $value && !has_text($value);
    return as_text($value);
}

sub as_array_text {
    my ($list) = @_;
    my @elements;
    for my $element (@$list) {
        if (!defined $element) {
            push @elements, 'NULL';
        } elsif (ref $element eq 'ARRAY') {
            push @elements, as_array_text($element);
        } else {
            (my $text = as_text($element)) =~ s/(["\\])/\\$1/g;
            push @elements, qq("$text");
        }
    }
    return '{' . join(',', @elements) . '}';
}

sub has_text {
    my ($value) = @_;
    require Scalar::Util;
    require overload;
    return Scalar::Util::blessed($value) && overload::Method($value, '""');
}

sub as_error {
    my ($error) = @_;
    my $text = as_text($error);
    return defined $text && length $text ? $text : "Died without a message\n";
}

# Characters; bytes that are UTF-8 are taken as such.
sub as_text {
    my ($value) = @_;
    return undef unless defined $value;
    my $text = "$value";
    utf8::decode($text) unless utf8::is_utf8($text);
    return $text;
}

# ---- all of it -----------------------------------------------------------------------------------

sub main {
    $request = JSON::PP->new->utf8->decode(scalar <$requests>);
    die_with_parent();
    close $requests;

    my %commands = (run => \&run_job, render => \&render_invoice);
    my %report    = (status => 'failure', error => "unknown command $request->{command}\n");
    if (my $command = $commands{ $request->{command} }) {
        my @done;
        if (eval { set_up(); @done = $command->(); 1 }) {
            %report = (status => 'success', @done);
        } else {
            my $error = as_error($@);
            my $data = eval { changed_data() };
            %report = (status => 'failure', error => $error, data => $data);
        }
    }
    # kivitendo's own objects need the database until here; what a job left open is rolled back
    eval { roll_back(); 1 } or warn $@;
    eval { keep_session_files(); 1 } or warn $@;
    write_report(\%report);
    return 0;
}

exit main();
