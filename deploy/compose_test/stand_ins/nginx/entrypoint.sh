#!/bin/sh
# What the official entrypoint does with NGINX_ENTRYPOINT_LOCAL_RESOLVERS and with /etc/nginx/templates. Docker names one
# resolver, its own; podman names that of this machine behind its own, which knows no container.
set -eu
if test -n "${NGINX_ENTRYPOINT_LOCAL_RESOLVERS:-}"; then
    NGINX_LOCAL_RESOLVERS=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
    export NGINX_LOCAL_RESOLVERS
fi
# shellcheck disable=SC2016 # envsubst is given the names, not the values
names=$(env | cut -d= -f1 | grep -E "${NGINX_ENVSUBST_FILTER:-.}" | sed 's/.*/${&}/' | paste -s -d ' ')
for template in /etc/nginx/templates/*.template; do
    envsubst "$names" < "$template" > "$NGINX_ENVSUBST_OUTPUT_DIR/$(basename "$template" .template)"
done
exec "$@"
