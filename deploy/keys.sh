#!/bin/sh
# Makes the key Prometheus reads the API's metrics with, once.
set -eu
[ -s /secrets/metrics/key ] && exit
ringwatch keys create --name prometheus --scopes operate > /secrets/metrics/key.part
mv /secrets/metrics/key.part /secrets/metrics/key
