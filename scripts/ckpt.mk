# The checkpoints of a training run as targets of its Makefile: `include ckpt.mk`, after setting what differs from
#
#   CKPT_BASE     the model that the job starts from                    base
#   CKPT_OUTPUT   what the job saves                                    output
#   CKPT_HF       the Hugging Face form of that                         $(CKPT_OUTPUT)-hf
#   CKPT_META     the Meta form of that                                 $(CKPT_OUTPUT)-meta
#   CKPT_EXPECT   what the preflight checks the base for                hf-save
#   CKPT_STAMPS   where it is noted what has been done                  .ckpt
#   CKPT_FLAGS    options for all tools, such as --jobs 4
#   CKPT_CONVERT_FLAGS   options for ckpt-convert, such as --dtype BF16
#
# and then
#
#   make preflight     is the base what the job needs? Say so before the job, not after
#   make export-hf     what the job saved, for transformers
#   make export-meta   what the job saved, for Meta's own code
#   make verify        is the export whole, and the same model as what was saved?
#   make manifest      digests of the export, in $(CKPT_HF).manifest.json
#
# Each notes what it did in a stamp, so that `make` does nothing twice, and begins again when a file of its source is
# newer. The stamps' names are in CKPT_PREFLIGHT, CKPT_EXPORTED_HF, CKPT_EXPORTED_META and CKPT_VERIFIED, for rules of
# your own: a job that depends on $(CKPT_PREFLIGHT) cannot begin without it. A recipe that fails leaves no stamp.

CKPT_BASE   ?= base
CKPT_OUTPUT ?= output
CKPT_HF     ?= $(CKPT_OUTPUT)-hf
CKPT_META   ?= $(CKPT_OUTPUT)-meta
CKPT_EXPECT ?= hf-save
CKPT_STAMPS ?= .ckpt

# A stamp is named for what was done to which directory.
ckpt_stamp = $(CKPT_STAMPS)/$(1).$(subst /,_,$(2))
# A checkpoint, which a rule of yours may make, and its files, as far as they are there already.
ckpt_files = $(1) $(wildcard $(1)/* $(1)/*/*)

CKPT_PREFLIGHT     := $(call ckpt_stamp,$(CKPT_EXPECT),$(CKPT_BASE))
CKPT_EXPORTED_HF   := $(call ckpt_stamp,export,$(CKPT_HF))
CKPT_EXPORTED_META := $(call ckpt_stamp,export,$(CKPT_META))
CKPT_VERIFIED      := $(call ckpt_stamp,verify,$(CKPT_HF))
CKPT_MANIFEST      := $(CKPT_HF).manifest.json

.PHONY: preflight export-hf export-meta verify manifest
preflight:   $(CKPT_PREFLIGHT)
export-hf:   $(CKPT_EXPORTED_HF)
export-meta: $(CKPT_EXPORTED_META)
verify:      $(CKPT_VERIFIED)
manifest:    $(CKPT_MANIFEST)

$(CKPT_STAMPS):
	@mkdir -p $@

$(CKPT_PREFLIGHT): $(call ckpt_files,$(CKPT_BASE)) | $(CKPT_STAMPS)
	ckpt-verify $(CKPT_FLAGS) --text --expect $(CKPT_EXPECT) $(CKPT_BASE)
	@touch $@

# The target is replaced whole or not at all, so an export that fails leaves the last good one.
$(CKPT_EXPORTED_HF): $(call ckpt_files,$(CKPT_OUTPUT)) | $(CKPT_STAMPS)
	ckpt-convert $(CKPT_FLAGS) $(CKPT_CONVERT_FLAGS) --text --force --to hf --out $(CKPT_HF) $(CKPT_OUTPUT)
	@touch $@

$(CKPT_EXPORTED_META): $(call ckpt_files,$(CKPT_OUTPUT)) | $(CKPT_STAMPS)
	ckpt-convert $(CKPT_FLAGS) $(CKPT_CONVERT_FLAGS) --text --force --to meta --out $(CKPT_META) $(CKPT_OUTPUT)
	@touch $@

# A cast changes values on purpose; then the two are not compared.
$(CKPT_VERIFIED): $(CKPT_EXPORTED_HF) $(call ckpt_files,$(CKPT_HF))
	ckpt-verify $(CKPT_FLAGS) --text --expect hf $(if $(findstring --dtype,$(CKPT_CONVERT_FLAGS)),,--against $(CKPT_OUTPUT)) $(CKPT_HF)
	@touch $@

$(CKPT_MANIFEST): $(CKPT_VERIFIED)
	ckpt-hash $(CKPT_FLAGS) --output $@ $(CKPT_HF)
