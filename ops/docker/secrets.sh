#!/bin/sh
# Makes the files that docker-compose.yml names as secrets, in secrets/ (or in the folder given): random ones, and certificates of an
# authority of your own. What is there already stays, so put your own in before or after. EDGE_NAME: the host name of the edge.
#
# The folder is this user's alone. The files can be read by everybody who gets into it, for each container runs as a user of its own.
set -eu
folder=${1:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { openssl rand -hex 24; }
keep() { cat > "$1.new"; chmod 444 "$1.new"; mv "$1.new" "$1"; }

for secret in postgres_password grafana_password webhook_token triton_key; do [ -e $secret ] || random | keep $secret; done
[ -e reelsift_database ] || printf 'postgresql://reelsift:%s@postgres/reelsift\n' "$(cat postgres_password)" | keep reelsift_database
[ -e reelsift_triton_header ] || printf 'triton-grpc-protocol-reelsift-key=%s\n' "$(cat triton_key)" | keep reelsift_triton_header

# An authority of your own: it vouches for the edge, and for every client that may come in (`client_certificate`, `client_key`).
name=${EDGE_NAME:-localhost}
new_key() { openssl ecparam -name prime256v1 -genkey -noout; }
signed() {  # KEY SUBJECT EXTENSIONS
    openssl req -new -key "$1" -subj "$2" | openssl x509 -req -days 365 -CA edge_authority -CAkey edge_authority_key \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$3" 2> /dev/null
}
if ! [ -e edge_authority ]; then
    new_key | keep edge_authority_key
    openssl req -x509 -new -key edge_authority_key -days 3650 -subj "/CN=reelsift edge" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        | keep edge_authority
fi
if ! [ -e edge_certificate ]; then
    new_key | keep edge_key
    printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' "$name" > extensions.new
    signed edge_key "/CN=$name" extensions.new | keep edge_certificate
fi
if ! [ -e client_certificate ]; then
    new_key | keep client_key
    printf 'extendedKeyUsage=clientAuth\n' > extensions.new
    signed client_key "/CN=client" extensions.new | keep client_certificate
fi
rm -f extensions.new
