#!/bin/sh
# curl, one message a session: host port tls|stls user password keep|delete folder
set -e
if [ "$3" = tls ]; then base="pop3s://$1:$2/"; else base="pop3://$1:$2/"; fi
ask() { curl --silent --show-error --insecure --ssl-reqd --user "$login" "$@"; }
login="$4:$5"
numbers=$(ask "$base" | tr -d '\r' | cut -d' ' -f1)
for number in $numbers; do ask --output "$7/$number" "$base$number"; done
[ "$6" = keep ] && exit 0
# Every session counts anew: the first message is deleted as often as there are messages.
for number in $numbers; do ask --list-only --request DELE "${base}1"; done
