package SL::BackgroundJob::Own::Job;
use parent 'SL::BackgroundJob::Base';
sub run { return 'from a sub-folder' }
1;
