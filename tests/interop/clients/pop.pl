# Net::POP3 of Perl: host port tls|stls user password keep|delete folder
use strict;
use warnings;
use Net::POP3;

my ($host, $port, $tls, $user, $password, $act, $folder) = @ARGV;
my %insecure = (SSL_verify_mode => 0);
my $pop = Net::POP3->new($host, Port => $port, SSL => $tls eq 'tls' ? 1 : 0, %insecure, Timeout => 60)
    or die "no connection: $@";
if ($tls eq 'stls') { $pop->starttls(%insecure) or die 'no STLS'; }
defined $pop->login($user, $password) or die 'no login: ' . $pop->message;
my $sizes = $pop->list;
my $uids = $pop->uidl;
for my $number (sort { $a <=> $b } keys %$sizes) {
    open(my $file, '>:raw', "$folder/$uids->{$number}") or die $!;
    $pop->get($number, $file) or die "no message $number";
    close($file) or die $!;
    if ($act eq 'delete') { $pop->delete($number) or die "not deleted $number"; }
}
$pop->quit or die 'no QUIT';
