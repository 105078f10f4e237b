package SL::LxOfficeConf;

use strict;
use warnings;

my $has_been_read;

sub read {
    my ($class, $file) = @_;
    die "the configuration is read only once per process\n" if $has_been_read++;
    $file = 'config/kivitendo.conf' unless defined $file;
    open my $in, '<:encoding(UTF-8)', $file or die "$file: $!\n";
    my $section;
    while (my $line = <$in>) {
        $section = $1 if $line =~ /^\[(.+)\]/;
        $::lx_office_conf{$section}{$1} = $2 if defined $section && $line =~ /^(\w+)\s*=\s*(.*?)\s*$/;
    }
}

1;
