package SL::Layout::None;
sub new { return bless {}, shift }
1;
