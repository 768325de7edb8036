# Needs Python 3.11 or newer with its venv module, and a package registry. Everything goes into .venv.

# The Python that .venv is made with, if the first suitable one is not the one you want:
#   make test PYTHON=/usr/local/bin/python3.13
PYTHON =

candidates = $(strip $(PYTHON) python3.13 python3.12 python3.11 python3)
venv = .venv
pip = $(venv)/bin/python -m pip -qq --disable-pip-version-check install

.PHONY: help try test interop chroot bench screens lint fmt
.NOTPARALLEL:

help:
	@echo 'make try       a mail server to play with, on this machine only; ARGS="--shift 100" moves its ports'
	@echo 'make test      everything that must be green; ARGS="-k pop3" is passed on to pytest'
	@echo 'make interop   the same server against other mail programs'
	@echo 'make bench     speed beside Dovecot and Postfix; ARGS="--quick --rows poll"'
	@echo 'make chroot    README typed in a new Debian, and deploy/Containerfile built and run'
	@echo 'make screens   pictures of every screen of the page, into screens/'
	@echo 'make lint      formatting, lint, types and walls, without the tests'
	@echo 'make fmt       format the code and mend what ruff can mend'

# exec: Ctrl-C goes to the program, and its exit status is the status of this line.
try: $(venv)/.project
	@exec $(venv)/bin/restante try $(ARGS)

test: $(venv)/.dev $(venv)/.project
	@exec $(venv)/bin/python tests/run.py test $(ARGS)

interop: $(venv)/.dev $(venv)/.project
	@exec $(venv)/bin/python tests/run.py interop $(ARGS)

bench: $(venv)/.dev $(venv)/.project
	@sh tests/install-packages bench/packages.txt
	@exec $(venv)/bin/python -m bench.run $(ARGS)

chroot: $(venv)/.dev $(venv)/.project
	@exec $(venv)/bin/python tests/run.py chroot $(ARGS)

screens: $(venv)/.dev $(venv)/.project
	@exec $(venv)/bin/python -m tests.page.screens screens $(ARGS)

lint: $(venv)/.dev $(venv)/.project
	@exec $(venv)/bin/python tests/run.py lint

fmt: $(venv)/.dev
	@$(venv)/bin/ruff format .
	@$(venv)/bin/ruff check --fix .

# A command that exists may still not run (a version manager's stub), or lack venv (Debian keeps
# it in python3-venv), so each is tried.
$(venv)/.packages: requirements.txt
	@for python in $(candidates); do \
	    if "$$python" -c 'import sys, ensurepip, ssl, sqlite3, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo 'No Python was found that can run Restante.'; \
	    echo 'It needs 3.11 or newer with the venv module; tried $(candidates).'; \
	    echo 'Debian, Ubuntu: apt-get install python3 python3-venv. Elsewhere: install one, or make $(MAKECMDGOALS) PYTHON=/path/to/it.'; \
	    exit 1; \
	fi >&2; \
	echo 'installing the pinned packages into $(venv) (once)'; \
	"$$found" -m venv --clear $(venv)
	@$(pip) --require-hashes -r requirements.txt
	@touch $@

# Compiled now: whoever runs it may be unable to write beside it, or be told not to by its environment,
# and each start would compile it all again.
$(venv)/.project: $(venv)/.packages pyproject.toml
	@$(pip) --no-deps --no-build-isolation --editable .
	@$(venv)/bin/python -m compileall -q -x '/[.]' .
	@touch $@

$(venv)/.dev: $(venv)/.packages requirements-dev.txt
	@echo 'installing the pinned tools of the tests into $(venv) (once)'
	@$(pip) --require-hashes -r requirements-dev.txt
	@touch $@
