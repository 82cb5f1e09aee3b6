# SPDX-License-Identifier: GPL-3.0-or-later
$(eval $(call library,fgjobcpio,fixvm/jobcpio.c,jansson))
$(eval $(call library,fgfixvm,fixvm/init/job.c fixvm/init/console.c fixvm/init/platform.c fixvm/steps/network.c \
	fixvm/steps/sink.c fixvm/steps/download.c fixvm/steps/blocks.c fixvm/steps/fstab.c fixvm/steps/mount.c \
	fixvm/steps/payload.c fixvm/steps/output.c fixvm/steps/sandbox_fs.c fixvm/steps/sandbox.c fixvm/steps/run.c \
	fixvm/steps/receipt.c fixvm/steps/work.c,jansson libmnl blkid libcrypto))
$(eval $(call program,fixvm-init,fixvm/init/main.c,fgfixvm fgapplies fgbundle fixgate,jansson libmnl blkid libcrypto))
$(eval $(call program,fixvm-fetch,fixvm/steps/fetch.c,fixgate,jansson libcurl))

# The fix VM's kernel and initramfs, from packages that need not be installed (see fixvm/image/fetch).
fixvm_out := $(O)/fixvm
EXTRA += $(fixvm_out)/vmlinuz $(fixvm_out)/vmlinux $(fixvm_out)/initrd

$(fixvm_out)/kernel/.package: fixvm/image/fetch
	$(call say,FETCH,linux-image-amd64)
	$(Q)fixvm/image/fetch linux-image-amd64 $(@D)

$(fixvm_out)/busybox/.package: fixvm/image/fetch
	$(call say,FETCH,busybox-static)
	$(Q)fixvm/image/fetch busybox-static $(@D)

$(fixvm_out)/vmlinux: fixvm/image/kernel $(fixvm_out)/kernel/.package
	$(call say,KERNEL,$@)
	$(Q)fixvm/image/kernel $(fixvm_out)/kernel $(@D)

$(fixvm_out)/vmlinuz: $(fixvm_out)/vmlinux

$(fixvm_out)/initrd: fixvm/image/initrd fixvm/image/modules $(fixvm_out)/kernel/.package \
		$(fixvm_out)/busybox/.package $(O)/bin/fixvm-init $(O)/bin/fixvm-fetch
	$(call say,INITRD,$@)
	$(Q)fixvm/image/initrd $@ $(fixvm_out)/kernel $(fixvm_out)/busybox fixvm/image/modules $(O)/bin/fixvm-init \
		$(O)/bin/fixvm-fetch

fixvm_libs := fgfixvm fgapplies fgbundle fixgate
$(eval $(call unit_test,unit/fixvm/test_job,test/unit/fixvm/test_job.c,$(fixvm_libs)))
$(eval $(call unit_test,unit/fixvm/test_console,test/unit/fixvm/test_console.c,$(fixvm_libs)))
$(eval $(call unit_test,unit/fixvm/test_fstab,test/unit/fixvm/test_fstab.c,$(fixvm_libs)))
$(eval $(call unit_test,unit/fixvm/test_sink,test/unit/fixvm/test_sink.c,$(fixvm_libs)))
$(eval $(call unit_test,unit/fixvm/test_jobcpio,test/unit/fixvm/test_jobcpio.c,fgjobcpio fixgate))
LAB_TESTS += test/fixvm/boot.py
