package SL::BackgroundJob::Overridden;
use parent -norequire, 'SL::BackgroundJob::Base';
use SL::BackgroundJob::Base;
sub run { return 'the override' }
1;
