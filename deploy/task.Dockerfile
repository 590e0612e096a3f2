# A task's image: a Ray image with the client and the plugins for Flyte. Its Ray must be the leased clusters' Ray.
#   docker build -t my-task:1 -f deploy/task.Dockerfile --build-arg RAY_IMAGE=rayproject/ray:2.60.0-py311 .
ARG RAY_IMAGE=rayproject/ray:2.60.0-py311
FROM ${RAY_IMAGE}
ARG EXTRAS=flyte
# The versions that the tests run with; Ray itself stays the image's.
COPY --chown=ray requirements.lock /tmp/warmpool/requirements.lock
COPY --chown=ray pyproject.toml README.md LICENSE /tmp/warmpool/
COPY --chown=ray policies /tmp/warmpool/policies
COPY --chown=ray pool /tmp/warmpool/pool
RUN python -c "import re; text = open('/tmp/warmpool/requirements.lock').read(); \
      open('/tmp/warmpool/versions', 'w').write('\n'.join(re.findall(r'^(?!ray==)\S+==\S+', text, re.M)))" && \
    python -m pip install --no-cache-dir --disable-pip-version-check \
      -c /tmp/warmpool/versions "/tmp/warmpool[${EXTRAS}]" && \
    rm -rf /tmp/warmpool
