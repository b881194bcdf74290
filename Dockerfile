# The steps of the README, in an image: docker build -t hardneg . && docker run -v "$PWD/work:/work" hardneg
FROM python:3.11-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends make gcc g++ git && rm -rf /var/lib/apt/lists/*

COPY . /hardneg
WORKDIR /hardneg
RUN make install
ENV PATH="/hardneg/.venv/bin:$PATH"

# A project of its own, so that artifacts and results are outside the image.
WORKDIR /work
ENTRYPOINT ["/bin/bash", "-c", "[ -e config.yaml ] || hardneg init . ; exec hardneg run \"$@\"", "hardneg"]
CMD ["config.yaml"]
