# What makers and users of this tree type. `make help` lists it.

PREFIX ?= /usr/local
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
TOOLS  := ckpt-inspect ckpt-convert ckpt-verify ckpt-hash
NEXTEST := $(shell command -v cargo-nextest)

.PHONY: help build release demo test check fmt clippy docs words deny interop interop-full bench fixtures install uninstall clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

build: ## the four tools, quickly, in target/debug
	cargo build --locked --bins

release: ## the four tools, optimised, in target/release
	cargo build --locked --release --bins

demo: build ## a Meta checkpoint fails its preflight, is mended, converted, proved equal, and taken back
	@scripts/needs jq
	@PATH="$(TARGET)/debug:$$PATH" scripts/demo

# The cases find the tools in CKPT_BIN, so that one build serves every test process.
test: build ## every test but those against the real libraries
	@scripts/needs jq
ifdef NEXTEST
	CKPT_BIN=$(TARGET)/debug cargo nextest run --locked --workspace --no-fail-fast
	cargo test --locked --workspace --doc
else
	CKPT_BIN=$(TARGET)/debug cargo test --locked --workspace
endif

check: fmt clippy docs words deny test ## all that needs no real libraries: style, lints, documentation, tests

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# Linters that a machine may lack: said when skipped. The continuous integration installs the first two.
words:
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run $$(grep -rlE '^#!.*sh$$' scripts); \
	else echo "skipped: shellcheck is not installed"; fi
	@if command -v typos >/dev/null; then typos --config .typos.toml; else echo "skipped: typos is not installed"; fi

# Licences and sources of what we depend on are also held by a test that needs nothing installed.
deny:
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check --config .deny.toml bans licenses sources; \
	else echo "skipped: cargo-deny is not installed"; fi

interop: release ## our files against torch, transformers, safetensors, tiktoken and Meta's own code
	CKPT_BIN=$(TARGET)/release scripts/interop

interop-full: release ## the same, and what takes minutes or gigabytes
	CKPT_BIN=$(TARGET)/release scripts/interop --full

bench: release ## speed and memory against cp, openssl and transformers; fills the table in README.md
	CKPT_BIN=$(TARGET)/release scripts/bench --readme

fixtures: ## make tests/fixtures again with the real libraries
	scripts/fixtures

install: release ## binaries, manual pages and completions below PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/ckpt-tools
	for tool in $(TOOLS); do \
	  install -m 755 $(TARGET)/release/$$tool $(DESTDIR)$(PREFIX)/bin/$$tool && \
	  $(TARGET)/release/$$tool --generate man  >$(DESTDIR)$(PREFIX)/share/man/man1/$$tool.1 && \
	  $(TARGET)/release/$$tool --generate bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool && \
	  $(TARGET)/release/$$tool --generate zsh  >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool && \
	  $(TARGET)/release/$$tool --generate fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish || exit 1; \
	done
	install -m 644 scripts/ckpt.mk $(DESTDIR)$(PREFIX)/share/ckpt-tools/ckpt.mk
	install -m 755 scripts/ckpt-audit $(DESTDIR)$(PREFIX)/bin/ckpt-audit
	install -m 644 scripts/ckpt-audit.1 $(DESTDIR)$(PREFIX)/share/man/man1/ckpt-audit.1

uninstall: ## take away what install put there
	cd $(DESTDIR)$(PREFIX) && for tool in $(TOOLS); do \
	  rm -f bin/$$tool share/man/man1/$$tool.1 share/bash-completion/completions/$$tool \
	    share/zsh/site-functions/_$$tool share/fish/vendor_completions.d/$$tool.fish; done; \
	  rm -f bin/ckpt-audit share/man/man1/ckpt-audit.1; rm -rf share/ckpt-tools

clean: ## take away what was built
	cargo clean
