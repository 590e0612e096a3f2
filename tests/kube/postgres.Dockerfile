# A PostgreSQL for the tests, with data that goes with its pod: user warmpool, its password in $PASSWORD.
#   docker build -t warmpool-postgres:test -f tests/kube/postgres.Dockerfile tests/kube
FROM python:3.11-slim-bookworm
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null && \
    rm -rf /var/lib/apt/lists/*
USER postgres
CMD ["sh", "-euc", "bin=$(echo /usr/lib/postgresql/*/bin); data=/tmp/data; echo \"$PASSWORD\" >/tmp/password; \
  $bin/initdb -D $data -U warmpool -A scram-sha-256 --pwfile=/tmp/password --no-sync >/dev/null; \
  echo 'host all all all scram-sha-256' >>$data/pg_hba.conf; \
  exec $bin/postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off"]
