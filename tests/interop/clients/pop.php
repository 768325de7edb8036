<?php
// The imap extension of PHP, on the c-client library: host port tls|stls user password keep|delete folder
[, $host, $port, $tls, $user, $password, $act, $folder] = $argv;
$way = $tls === 'tls' ? 'ssl' : 'tls';
$box = imap_open("{{$host}:$port/pop3/$way/novalidate-cert}INBOX", $user, $password, 0, 1);
if (!$box) {
    fwrite(STDERR, implode("\n", imap_errors() ?: []));
    exit(1);
}
for ($number = 1; $number <= imap_num_msg($box); $number++) {
    $octets = imap_fetchheader($box, $number, FT_PREFETCHTEXT) . imap_body($box, $number);
    file_put_contents("$folder/$number", $octets);
    if ($act === 'delete') {
        imap_delete($box, (string) $number);
    }
}
imap_close($box, $act === 'delete' ? CL_EXPUNGE : 0);
