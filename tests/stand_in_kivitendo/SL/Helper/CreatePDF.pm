package SL::Helper::CreatePDF;

# "Renders" by writing the template with its variables replaced behind a PDF's first line.

use strict;
use warnings;

use File::Temp;

sub create_pdf {
    my ($class, %params) = @_;
    my $form = $params{variables};
    if (-e 'hold') {    # a test wants to see us at work
        mkdir 'holding';
        select undef, undef, undef, 0.05 while -e 'hold';
    }
    my $file = "templates/print/Standard/$params{template}";
    open my $in, '<:encoding(UTF-8)', $file or die "$file: $!\n";
    my $text = do { local $/; <$in> };
    die "LaTeX: ! Undefined control sequence.\n" if $text =~ /\\broken/;
    $text =~ s/<%(\w+)%>/defined $form->{$1} ? $form->{$1} : ''/ge;
    my $out = File::Temp->new(SUFFIX => '.pdf', UNLINK => 0);
    binmode $out, ':encoding(UTF-8)';
    print $out "%PDF-1.4\n$text";
    close $out or die $!;
    return $out->filename;
}

1;
