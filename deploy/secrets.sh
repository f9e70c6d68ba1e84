#!/bin/sh
# .env for compose.yaml, with secrets of its own in it, and a certificate to begin with. Once: it replaces nothing.
#   sh deploy/secrets.sh [https://shop.example[:port] [admin@shop.example]]
set -eu
umask 077
cd "$(dirname "$0")/.."
url=${1:-https://localhost:8443}
admin=${2:-admin@weir.example}
case $url in https://?*) ;; *) echo "the shop's address begins with https://, not $url" >&2; exit 2 ;; esac
name=${url#https://} name=${name%%/*} name=${name%:*}
port=${url#https://"$name"}
test ! -e .env || { echo "there is a .env already; it is left as it is" >&2; exit 1; }

# nginx runs as who owns the certificate, and that is not root.
owner=$(id -u):$(id -g)
test "$owner" != 0:0 || owner=10001:10001

random() { openssl rand -base64 "$1" | tr -d '\n'; }
word() { openssl rand -hex 16; }
cat > .env.new <<END
# Made by deploy/secrets.sh for compose.yaml. Keep a copy where the database's backups are not.
WEIR_PUBLIC_URL=$url
WEIR_ALLOWED_HOSTS=$name
HTTPS_PORT=${port#:}
HTTP_PORT=$(test -n "$port" && echo 8080)
WEIR_ADMIN_EMAIL=$admin
WEIR_ADMIN_PASSWORD=$(word)
WEIR_ENCRYPTION_KEYS=$(random 32)
WEIR_PAYMENT_WEBHOOK_SECRET=whsec_$(random 32)
WEIR_PAYMENT_PROVIDER_KEY=$(word)
POSTGRES_PASSWORD=$(word)
GRAFANA_PASSWORD=$(word)
TLS_OWNER=$owner
END
mkdir -p deploy/tls
if ! test -e deploy/tls/fullchain.pem; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj "/CN=$name" \
        -addext "subjectAltName=DNS:$name" -keyout deploy/tls/privkey.pem -out deploy/tls/fullchain.pem 2> /dev/null
    echo "deploy/tls/: a certificate that nobody signed, for 90 days; put yours there under the same names"
fi
test "$(id -u)" != 0 || chown -R "$owner" deploy/tls
mv .env.new .env
echo ".env: $url, $admin with the password in WEIR_ADMIN_PASSWORD"
