/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Guests' roots made in a folder. */
#include "maker.h"

#include <check.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[32];
static int root_fd;
static char *reason;
static struct fg_error err;

static void put(const char *path, const char *text)
{
	fg_autofree char *full = fg_asprintf("%s%s", root, path);
	fg_autofree char *dir = fg_strdup(full);

	*strrchr(dir, '/') = '\0';
	ck_assert_int_eq(fg_mkdir_p(dir, 0755, NULL), 0);
	FILE *f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void link_to(const char *path, const char *target)
{
	fg_autofree char *full = fg_asprintf("%s%s", root, path);

	unlink(full);
	ck_assert_int_eq(symlink(target, full), 0);
}

static void setup(void)
{
	snprintf(root, sizeof(root), "/tmp/fg-root-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(root_fd, 0);
	put("/etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID=\"12\"\n");
	put("/usr/bin/dpkg", "");
	put("/var/lib/dpkg/status",
	    "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21\n\n"
	    "Package: demo\nStatus: install ok installed\nPriority: optional\nArchitecture: amd64\n"
	    "Version: 1.0-1\nDescription: a daemon\n Version: 9.9\n .\n more\n\n"
	    "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1.0\n");
}

static void teardown(void)
{
	close(root_fd);
	maker_remove(root);
	free(reason);
	reason = NULL;
	fg_error_clear(&err);
}

/* rules: the value of applies_to. */
static int evaluate(const char *rules)
{
	static const char sum[] = "00000000000000000000000000000000000000000000000000000000000000aa";
	fg_autofree char *text =
		fg_asprintf("{\"format\":1,\"id\":\"demo-1\",\"version\":3,\"title\":\"T\",\"severity\":\"low\","
			    "\"published\":\"2026-01-01T00:00:00Z\",\"expires\":\"2027-01-01T00:00:00Z\",\"applies_"
			    "to\":%s,\"entry\":\"run\","
			    "\"context\":\"chroot\",\"timeout_s\":60,\"payload\":{\"bytes\":1,\"sha256\":\"%s\","
			    "\"hashes_sha256\":\"%s\"}}",
			    rules, sum, sum);
	struct fg_manifest *m = NULL;
	enum fg_applies applies = FG_APPLIES_NEEDED;
	char *why = NULL;

	fg_error_clear(&err);
	ck_assert_msg(fg_manifest_parse(text, strlen(text), &m, &err) == 0, "%s", err.text);
	int rc = fg_applies_evaluate(m, root_fd, &applies, &why, &err);
	fg_manifest_free(m);
	ck_assert((rc == 0) == (why != NULL));
	free(reason);
	reason = why;
	return rc < 0 ? rc : (int)applies;
}

#define OS(id) "\"os\":[{\"id\":\"" id "\"}]"
#define OS_VERSION(id, version) "\"os\":[{\"id\":\"" id "\",\"version\":\"" version "\"}]"
#define PKG(name, version) "{\"type\":\"dpkg\",\"name\":\"" name "\",\"less_than\":\"" version "\"}"
#define RPM(name, version) "{\"type\":\"rpm\",\"name\":\"" name "\",\"less_than\":\"" version "\"}"
#define PACKAGES(list) "\"packages\":[" list "]"

START_TEST(os_rules)
{
	ck_assert_int_eq(evaluate("{}"), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate("{" OS("debian") "}"), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate("{" OS_VERSION("debian", "12") "}"), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate("{" OS_VERSION("debian", "1") "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("{" OS_VERSION("debian", "12.1") "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("{" OS("ubuntu") "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_str_eq(reason, "the fix is not for the guest's system (debian 12)");
	ck_assert_int_eq(evaluate("{\"os\":[{\"id\":\"ubuntu\"},{\"id\":\"debian\"}]}"), FG_APPLIES_NEEDED);
	put("/etc/os-release", "# c\nID='rhel'\nVERSION_ID=\"9.3\" \r\nXID=debian\n");
	ck_assert_int_eq(evaluate("{" OS_VERSION("rhel", "9") "}"), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate("{" OS_VERSION("rhel", "9.3") "}"), FG_APPLIES_NEEDED);
	put("/etc/os-release", "ID=arch");
	ck_assert_int_eq(evaluate("{" OS_VERSION("arch", "1") "}"), FG_APPLIES_NOT_APPLICABLE);
	put("/etc/os-release", "ID=\x1b]0;x\xff\x07\n");
	ck_assert_int_eq(evaluate("{" OS("arch") "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_str_eq(reason, "the fix is not for the guest's system (?]0;x?? without version)");
}
END_TEST

START_TEST(os_release_elsewhere)
{
	put("/usr/lib/os-release", "ID=alpine\n");
	link_to("/etc/os-release", "../usr/lib/os-release");
	ck_assert_int_eq(evaluate("{" OS("alpine") "}"), FG_APPLIES_NEEDED);
	link_to("/etc/os-release", "/usr/lib/os-release"); /* inside the root */
	ck_assert_int_eq(evaluate("{" OS("alpine") "}"), FG_APPLIES_NEEDED);
	link_to("/etc/os-release", "/nowhere");
	ck_assert_int_eq(evaluate("{" OS("alpine") "}"), FG_APPLIES_NEEDED);
	link_to("/usr/lib/os-release", "../../../../../../../../etc/hostname-of-nobody");
	ck_assert_int_eq(evaluate("{" OS("alpine") "}"), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

START_TEST(what_cannot_be_read_is_an_error)
{
	fg_autofree char *path = fg_asprintf("%s/etc/os-release", root);
	fg_autofree char *big = fg_calloc(70000, 1);

	link_to("/etc/os-release", "os-release"); /* a loop */
	ck_assert_int_eq(evaluate("{" OS("debian") "}"), -FG_EIO);
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0); /* does not block either */
	ck_assert_int_eq(evaluate("{" OS("debian") "}"), -FG_EIO);
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(evaluate("{" OS("debian") "}"), -FG_EIO);
	ck_assert_int_eq(rmdir(path), 0);
	memset(big, 'x', 69999);
	put("/etc/os-release", big);
	ck_assert_int_eq(evaluate("{" OS("debian") "}"), -FG_ELIMIT);
	ck_assert_ptr_null(reason);
}
END_TEST

START_TEST(package_rules)
{
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_NEEDED);
	ck_assert_str_eq(reason, "demo 1.0-1 is older than 1.1");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.0-1")) "}"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.0")) "}"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("absent", "1")) "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("gone", "2")) "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("dem", "2")) "}"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("gone", "2") "," PKG("demo", "1.1")) "}"), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("absent", "2") "," PKG("demo", "1.0")) "}"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("{" OS("ubuntu") "," PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

START_TEST(package_states)
{
	static const char *const states[] = { "unpacked", "half-configured", "half-installed", "triggers-pending",
					      "triggers-awaited" };

	for (size_t i = 0; i < FG_COUNT(states); i++) {
		fg_autofree char *text = fg_asprintf(
			"Package: demo\nStatus: install ok %s\nArchitecture: amd64\nVersion: 1.0\n", states[i]);
		put("/var/lib/dpkg/status", text);
		ck_assert_msg(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}") == FG_APPLIES_NEEDED, "%s", states[i]);
	}
	put("/var/lib/dpkg/status", "Package: demo\nStatus: purge ok not-installed\nArchitecture: amd64\n");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_NOT_APPLICABLE);
	put("/var/lib/dpkg/status", "Package: demo\nStatus: install ok installed\nArchitecture: amd64\n");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), -FG_EFORMAT);
	put("/var/lib/dpkg/status", "");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

/* An old one beside a new one of another architecture still needs the fix. */
START_TEST(several_architectures)
{
	put("/var/lib/dpkg/status", "Package: demo\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n\n"
				    "Package: demo\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "2")) "}"), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1")) "}"), FG_APPLIES_ALREADY);
}
END_TEST

START_TEST(journal_of_an_interrupted_dpkg)
{
	put("/var/lib/dpkg/updates/0001",
	    "Package: demo\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 2.0\n");
	put("/var/lib/dpkg/updates/tmp.i",
	    "Package: demo\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0\n");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_ALREADY);
	put("/var/lib/dpkg/updates/0002", "Package: demo\nStatus: deinstall ok config-files\nArchitecture: amd64\n");
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

START_TEST(dpkg_that_cannot_be_asked)
{
	fg_autofree char *status = fg_asprintf("%s/var/lib/dpkg/status", root);
	fg_autofree char *dpkg = fg_asprintf("%s/usr/bin/dpkg", root);

	unlink(status); /* /var is somewhere else */
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), -FG_EUNREACHABLE);
	unlink(dpkg);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), FG_APPLIES_NOT_APPLICABLE);
	int fd = open(status, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "Package: x\n\0\nPackage: demo\n", 27), 27);
	close(fd);
	ck_assert_int_eq(evaluate("{" PACKAGES(PKG("demo", "1.1")) "}"), -FG_EFORMAT);
}
END_TEST

START_TEST(rpm_rules)
{
	ck_assert_int_eq(evaluate("{" PACKAGES(RPM("demo", "1.1")) "}"), FG_APPLIES_NOT_APPLICABLE);
	put("/var/lib/rpm/Packages", ""); /* what can be read is in test_rpmdb.c */
	ck_assert_int_eq(evaluate("{" PACKAGES(RPM("demo", "1.1")) "}"), -FG_EUNREACHABLE);
	/* enough is known without rpm */
	ck_assert_int_eq(evaluate("{" PACKAGES(RPM("demo", "1.1") "," PKG("demo", "1.1")) "}"), FG_APPLIES_NEEDED);
}
END_TEST

#define ARCH(name) "{\"arch\":[\"" name "\"]}"

START_TEST(arch_rules)
{
	static const unsigned char elf[20] = { 0x7f, 'E', 'L', 'F', 2, 1, 1, [18] = 183 }; /* EM_AARCH64 */
	fg_autofree char *status = fg_asprintf("%s/var/lib/dpkg/status", root);
	fg_autofree char *dpkg = fg_asprintf("%s/usr/bin/dpkg", root);
	fg_autofree char *list = fg_asprintf("%s/var/lib/dpkg/arch", root);

	ck_assert_int_eq(evaluate(ARCH("amd64")), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate(ARCH("arm64")), FG_APPLIES_NOT_APPLICABLE);
	put("/var/lib/dpkg/arch", "arm64\namd64\n");
	ck_assert_int_eq(evaluate(ARCH("arm64")), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate(ARCH("amd64")), FG_APPLIES_NOT_APPLICABLE);
	unlink(list);
	unlink(status);
	unlink(dpkg);
	ck_assert_int_eq(evaluate(ARCH("amd64")), -FG_EUNREACHABLE);
	put("/bin/sh", "");
	fg_autofree char *shell = fg_asprintf("%s/bin/sh", root);
	int fd = open(shell, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, elf, sizeof(elf)), (ssize_t)sizeof(elf));
	close(fd);
	ck_assert_int_eq(evaluate(ARCH("arm64")), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate(ARCH("amd64")), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

static char *file_rule(const char *path, const char *content)
{
	uint8_t digest[FG_DIGEST_BYTES];
	char hex[FG_DIGEST_HEX];

	ck_assert_int_eq(EVP_Digest(content, strlen(content), digest, NULL, EVP_sha256(), NULL), 1);
	fg_hex_encode(digest, sizeof(digest), hex);
	return fg_asprintf("{" PACKAGES(PKG("demo", "1.1")) ",\"files\":[{\"path\":\"%s\",\"sha256\":\"%s\"}]}", path,
			   hex);
}

START_TEST(file_rules)
{
	fg_autofree char *rule = file_rule("/opt/x", "bad"), *folder = file_rule("/opt", "bad");

	ck_assert_int_eq(evaluate(rule), FG_APPLIES_NOT_APPLICABLE);
	put("/opt/x", "good");
	ck_assert_int_eq(evaluate(rule), FG_APPLIES_NOT_APPLICABLE);
	put("/opt/x", "bad");
	ck_assert_int_eq(evaluate(rule), FG_APPLIES_NEEDED);
	ck_assert_int_eq(evaluate(folder), -FG_EIO);
}
END_TEST

#define RECEIPT "/var/lib/fixgate/receipts/demo-1.json"

START_TEST(receipts)
{
	static const char *const bad[] = { "",
					   "{}",
					   "{\"format\":1,\"fix\":\"demo-2\",\"version\":3}",
					   "{\"format\":1,\"fix\":\"demo-1\",\"version\":\"3\"}",
					   "{\"format\":2,\"fix\":\"demo-1\",\"version\":3}",
					   "{\"format\":1,\"fix\":\"demo-1\"}" };

	put(RECEIPT, "{\"format\":1,\"fix\":\"demo-1\",\"version\":2,\"job\":\"x\"}");
	ck_assert_int_eq(evaluate("{}"), FG_APPLIES_NEEDED);
	put(RECEIPT, "{\"format\":1,\"fix\":\"demo-1\",\"version\":3}");
	ck_assert_int_eq(evaluate("{}"), FG_APPLIES_ALREADY);
	ck_assert_str_eq(reason, "the guest has a receipt of demo-1 version 3");
	put(RECEIPT, "{\"format\":1,\"fix\":\"demo-1\",\"version\":4}");
	ck_assert_int_eq(evaluate("{" OS("ubuntu") "}"), FG_APPLIES_ALREADY);
	for (size_t i = 0; i < FG_COUNT(bad); i++) {
		put(RECEIPT, bad[i]);
		ck_assert_msg(evaluate("{}") == -FG_EFORMAT, "%s", bad[i]);
	}
}
END_TEST

START_TEST(not_fix_rules)
{
	ck_assert_int_eq(evaluate("{\"not_fix\":[\"demo-9\"]}"), FG_APPLIES_NEEDED);
	put("/var/lib/fixgate/receipts/demo-9.json", "{\"format\":1,\"fix\":\"demo-9\",\"version\":1}");
	ck_assert_int_eq(evaluate("{\"not_fix\":[\"demo-8\",\"demo-9\"]}"), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

/* A symlink of the guest cannot show us a file of the machine that reads. */
START_TEST(links_stay_in_the_root)
{
	char outside[] = "/tmp/fg-outside-XXXXXX";
	int fd = mkstemp(outside);
	fg_autofree char *up = fg_asprintf("../../../../../../..%s", outside);
	fg_autofree char *rule = file_rule("/etc/link", "bad");

	ck_assert_int_eq(write(fd, "bad", 3), 3);
	close(fd);
	link_to("/etc/link", outside);
	ck_assert_int_eq(evaluate(rule), FG_APPLIES_NOT_APPLICABLE);
	link_to("/etc/link", up);
	ck_assert_int_eq(evaluate(rule), FG_APPLIES_NOT_APPLICABLE);
	link_to("/etc/link", "/proc/self/root/etc/hostname");
	ck_assert_int_eq(evaluate(rule), FG_APPLIES_NOT_APPLICABLE);
	unlink(outside);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("applies");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, os_rules);
	tcase_add_test(t, os_release_elsewhere);
	tcase_add_test(t, what_cannot_be_read_is_an_error);
	tcase_add_test(t, package_rules);
	tcase_add_test(t, package_states);
	tcase_add_test(t, several_architectures);
	tcase_add_test(t, journal_of_an_interrupted_dpkg);
	tcase_add_test(t, dpkg_that_cannot_be_asked);
	tcase_add_test(t, rpm_rules);
	tcase_add_test(t, arch_rules);
	tcase_add_test(t, file_rules);
	tcase_add_test(t, receipts);
	tcase_add_test(t, not_fix_rules);
	tcase_add_test(t, links_stay_in_the_root);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
