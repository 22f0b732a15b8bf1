# Stands in for the postgres image where no registry is at hand: Debian's PostgreSQL, and the part
# of the image's interface that docker/compose.yaml uses.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* \
    && ln -s "$(dirname "$(find /usr/lib/postgresql -name initdb)")" /opt/postgresql \
    && install -d -o postgres -g postgres /var/lib/postgresql/data /var/run/postgresql
ENV PATH=/opt/postgresql:$PATH PGDATA=/var/lib/postgresql/data
COPY postgres.sh /usr/local/bin/
USER postgres
ENTRYPOINT ["bash", "/usr/local/bin/postgres.sh"]
