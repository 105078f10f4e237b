#!/usr/bin/perl
# Stands in for kivitendo's Perl task server: the same PID file with its lock, the same signals,
# "start" in the background and "-f start" in the foreground. It runs no jobs.
use strict;
use warnings;
use Fcntl qw(:flock);
use POSIX qw(setsid);
use File::Basename qw(dirname);

chdir dirname(dirname($0)) or die "no directory: $!";
my $pid_file   = 'users/pid/config.kivitendo.conf.pid';
my $foreground = @ARGV && $ARGV[0] eq '-f';
my $command    = $ARGV[-1] // '';

if ($command eq 'stop') {
    open my $file, '<', $pid_file or exit 0;
    kill INT => <$file>;
    exit 0;
}
die "usage\n" if $command ne 'start';
if (!$foreground) {
    exit 0 if fork;
    setsid();
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
}
open my $lock, '+>>', $pid_file or die "$pid_file: $!";
flock $lock, LOCK_EX | LOCK_NB or die "already running\n";
truncate $lock, 0;
$lock->autoflush(1);
print {$lock} "$$\n";
$SIG{INT}  = sub { exit 0 };
$SIG{ALRM} = sub { };
sleep 60 while 1;
