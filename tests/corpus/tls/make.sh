#!/bin/sh
# Makes the certificates of the TLS tests, valid from 2020 to 2120 (one of them: expired since 2001). Needs openssl 3.
# ca.pem signs server.pem and again.pem (localhost, 127.0.0.1; again: what a reload brings), client.pem and expired.pem.
# other-ca.pem signs nothing: whoever trusts it alone trusts none of them. The keys open nothing but these tests.
set -eu
cd "$(dirname "$0")"
begins=20200101000000Z ends=21200101000000Z
trap 'rm -rf ca.cnf index.txt* *.csr *.ext ca.key other-ca.key made' EXIT
: >index.txt
mkdir made
cat >ca.cnf <<'CNF'
[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = made
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
CNF
# `openssl x509` of 3.0 cannot be told when a certificate begins to hold; `openssl ca` can
made() { # name subject extensions, then who signs
    name=$1 subject=$2
    printf '%s\n' "$3" >"$name.ext"
    shift 3
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key" 2>/dev/null ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key"
    openssl req -new -key "$name.key" -subj "/CN=$subject" -out "$name.csr"
    openssl ca -batch -notext -config ca.cnf -in "$name.csr" -extfile "$name.ext" -startdate $begins -enddate $ends \
        -out "$name.pem" "$@" 2>/dev/null
}
authority="basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash"
server="basicConstraints=CA:FALSE
keyUsage=digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=DNS:localhost,IP:127.0.0.1"
client="basicConstraints=CA:FALSE
keyUsage=digitalSignature
extendedKeyUsage=clientAuth
subjectAltName=DNS:edge"
made ca "wayside tests" "$authority" -selfsign -keyfile ca.key
made other-ca "another authority" "$authority" -selfsign -keyfile other-ca.key
signed="-cert ca.pem -keyfile ca.key"
made server localhost "$server" $signed
made again "localhost renewed" "$server" $signed
made client "an edge" "$client" $signed
begins=20000101000000Z ends=20010101000000Z
made expired localhost "$server" $signed
