/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Databases that rpm made, in guests' roots made in a folder; and what a guest could make of them. */
#include "maker.h"

#include <lib/bundle/rpmdb.h>

#include <check.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OLD "/var/lib/rpm"
#define NEW "/usr/lib/sysimage/rpm"
#define ONE "demo 1.0-1\nother 1:0.5-2\ngpg-pubkey f980010c-6b0b3c3e\n"

static char made[32], root[32];
static int root_fd;
static char *text;
static struct fg_error err;

static void run_script(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execl("test/unit/lib/bundle/make-rpmdb", "make-rpmdb", made, (char *)NULL);
		_exit(127);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "rpm makes no databases: make deps");
}

static void setup_once(void)
{
	snprintf(made, sizeof(made), "/tmp/fg-rpmdb-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(made));
	run_script();
}

static void teardown_once(void)
{
	maker_remove(made);
}

static void setup(void)
{
	snprintf(root, sizeof(root), "/tmp/fg-root-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(root_fd, 0);
}

static void teardown(void)
{
	close(root_fd);
	maker_remove(root);
	free(text);
	text = NULL;
	fg_error_clear(&err);
}

static char *in_root(const char *path)
{
	return fg_asprintf("%s%s", root, path);
}

static void put_bytes(const char *path, const void *bytes, size_t len)
{
	fg_autofree char *full = in_root(path);
	fg_autofree char *dir = fg_strdup(full);

	*strrchr(dir, '/') = '\0';
	ck_assert_int_eq(fg_mkdir_p(dir, 0755, NULL), 0);
	FILE *f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	fclose(f);
}

static char *get_bytes(const char *path, size_t *len)
{
	char *bytes = NULL;

	ck_assert_int_eq(fg_file_read(path, 64 << 20, &bytes, len, NULL), 0);
	return bytes;
}

/* The database that the script calls name. */
static void install(const char *name, const char *place)
{
	size_t len = 0;
	fg_autofree char *from = fg_asprintf("%s/%s/rpmdb.sqlite", made, name);
	fg_autofree char *to = fg_asprintf("%s/rpmdb.sqlite", place);
	fg_autofree char *bytes = get_bytes(from, &len);

	put_bytes(to, bytes, len);
}

static void link_to(const char *path, const char *target)
{
	fg_autofree char *full = in_root(path);
	fg_autofree char *dir = fg_strdup(full);

	*strrchr(dir, '/') = '\0';
	ck_assert_int_eq(fg_mkdir_p(dir, 0755, NULL), 0);
	ck_assert_int_eq(symlink(target, full), 0);
}

static void gone(const char *path)
{
	fg_autofree char *full = in_root(path);

	ck_assert_int_eq(remove(full), 0);
}

/* As the guest's owner may change it, by SQLite's own means. */
static sqlite3 *sql_open(const char *path)
{
	sqlite3 *db = NULL;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL), SQLITE_OK);
	return db;
}

static void sql_run(sqlite3 *db, const char *statements)
{
	char *why = NULL;

	sqlite3_exec(db, statements, NULL, NULL, &why);
	ck_assert_msg(!why, "%s: %s", statements, why);
}

static void sql(const char *statements)
{
	fg_autofree char *path = in_root(OLD "/rpmdb.sqlite");
	sqlite3 *db = sql_open(path);

	sql_run(db, statements);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* 0 and text: a line for each package; or the error. */
static int read_db(void)
{
	struct fg_rpm_packages p = { NULL, 0 };

	fg_error_clear(&err);
	int rc = fg_rpmdb_read(root_fd, &p, &err);
	ck_assert_msg(rc == -err.code, "%s", err.text);
	free(text);
	text = fg_strdup("");
	for (size_t i = 0; i < p.n && i < 10; i++) {
		char *more = fg_asprintf("%s%s %s\n", text, p.list[i].name, p.list[i].evr);
		free(text);
		text = more;
	}
	fg_rpm_packages_release(&p);
	return rc;
}

static void expect_error(int rc, const char *words)
{
	int got = read_db();

	ck_assert_msg(got == rc && strstr(err.text, words), "want %d %s, got %d %s", rc, words, got, err.text);
}

static void expect(const char *packages)
{
	int rc = read_db();

	ck_assert_msg(rc == 0, "%d %s", rc, err.text);
	ck_assert_str_eq(text, packages);
}

START_TEST(what_rpm_wrote)
{
	install("one", OLD);
	expect(ONE);
	install("several", OLD);
	expect("demo 1.0-1\ndemo 2.0-1\nother 1:0.5-2\n");
	install("bare", OLD);
	expect("");
}
END_TEST

static int evaluate(const char *type, const char *name, const char *less_than)
{
	struct fg_rule_package rule = { (char *)type, (char *)name, (char *)less_than };
	struct fg_manifest m = { .id = (char *)"demo-1", .version = 1, .packages = &rule, .n_packages = 1 };
	enum fg_applies applies = FG_APPLIES_NEEDED;

	fg_error_clear(&err);
	free(text);
	text = NULL;
	int rc = fg_applies_evaluate(&m, root_fd, &applies, &text, &err);
	return rc < 0 ? rc : (int)applies;
}

START_TEST(rules)
{
	install("one", NEW);
	ck_assert_int_eq(evaluate("rpm", "demo", "1.0-2"), FG_APPLIES_NEEDED);
	ck_assert_str_eq(text, "demo 1.0-1 is older than 1.0-2");
	ck_assert_int_eq(evaluate("rpm", "demo", "1.0-1"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("rpm", "demo", "1.0~rc1-9"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("rpm", "demo", "1_0-1"), FG_APPLIES_ALREADY); /* the same to rpm, newer to dpkg */
	ck_assert_int_eq(evaluate("rpm", "demo", "1:0.1-1"), FG_APPLIES_NEEDED); /* an epoch outweighs all */
	ck_assert_int_eq(evaluate("rpm", "other", "9-9"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("rpm", "other", "1:0.5-3"), FG_APPLIES_NEEDED);
	ck_assert_str_eq(text, "other 1:0.5-2 is older than 1:0.5-3");
	ck_assert_int_eq(evaluate("rpm", "dem", "9"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("rpm", "Demo", "9"), FG_APPLIES_NOT_APPLICABLE);
	ck_assert_int_eq(evaluate("dpkg", "demo", "9"), FG_APPLIES_NOT_APPLICABLE);
}
END_TEST

START_TEST(one_older_is_enough)
{
	install("several", NEW);
	ck_assert_int_eq(evaluate("rpm", "demo", "2.0-1"), FG_APPLIES_NEEDED);
	ck_assert_str_eq(text, "demo 1.0-1 is older than 2.0-1");
	ck_assert_int_eq(evaluate("rpm", "demo", "1.0-1"), FG_APPLIES_ALREADY);
	ck_assert_int_eq(evaluate("rpm", "demo", "9"), FG_APPLIES_NEEDED); /* the first of both is named */
	ck_assert_str_eq(text, "demo 1.0-1 is older than 9");
}
END_TEST

/* Both kinds of rules; the second is asked where the first does not decide. */
START_TEST(beside_dpkg)
{
	static const char status[] = "Package: demo\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0-1\n";
	struct fg_rule_package list[] = { { (char *)"dpkg", (char *)"demo", (char *)"1.0-1" },
					  { (char *)"rpm", (char *)"demo", (char *)"2" } };
	struct fg_manifest m = { .id = (char *)"demo-1", .version = 1, .packages = list, .n_packages = 2 };
	enum fg_applies applies = FG_APPLIES_ALREADY;

	put_bytes("/var/lib/dpkg/status", status, strlen(status));
	install("one", NEW);
	ck_assert_int_eq(fg_applies_evaluate(&m, root_fd, &applies, &text, &err), 0);
	ck_assert_int_eq(applies, FG_APPLIES_NEEDED);
	ck_assert_str_eq(text, "demo 1.0-1 is older than 2");
}
END_TEST

START_TEST(places)
{
	expect(""); /* no rpm at all */
	put_bytes("/usr/bin/rpm", "", 0);
	expect_error(-FG_EUNREACHABLE, "the guest has rpm but no database");
	link_to(OLD, "../../usr/lib/sysimage/rpm"); /* as Fedora has it */
	expect_error(-FG_EUNREACHABLE, "the guest has rpm but no database");
	install("one", NEW);
	expect(ONE);
	gone(OLD);
	link_to(OLD, NEW);
	expect(ONE);
	gone(OLD);
	expect(ONE);
	install("one", OLD);
	expect_error(-FG_EUNREACHABLE, "has a database too");
	gone(NEW "/rpmdb.sqlite");
	expect(ONE);
	gone(OLD "/rpmdb.sqlite");
	expect_error(-FG_EUNREACHABLE, "has no rpmdb.sqlite");
}
END_TEST

START_TEST(other_formats)
{
	put_bytes(OLD "/Packages", "", 0);
	expect_error(-FG_EUNREACHABLE, "Berkeley DB");
	install("one", OLD); /* which one rpm would take is up to its configuration */
	expect_error(-FG_EUNREACHABLE, "Berkeley DB");
	gone(OLD "/Packages");
	put_bytes(OLD "/Packages.db", "", 0);
	expect_error(-FG_EUNREACHABLE, "ndb");
	gone(OLD "/Packages.db");
	link_to(OLD "/Packages.db", "/nowhere");
	expect_error(-FG_EUNREACHABLE, "ndb");
	gone(OLD "/Packages.db");
	put_bytes(OLD "/rpmdb.sqlite-journal", "", 0);
	expect(ONE);
	put_bytes(OLD "/rpmdb.sqlite-journal", "\xd9\xd5\x05\xf9", 4);
	expect_error(-FG_EUNREACHABLE, "the journal of an interrupted rpm");
	ck_assert_int_eq(evaluate("rpm", "demo", "9"), -FG_EUNREACHABLE);
	gone(OLD "/rpmdb.sqlite-journal");
	install("one", NEW);
	put_bytes(OLD "/Packages", "", 0);
	expect_error(-FG_EUNREACHABLE, "Berkeley DB");
}
END_TEST

/* A real database outside the root is not reached by any link; a database behind a link is not read. */
START_TEST(links_stay_in_the_root)
{
	fg_autofree char *outside = fg_asprintf("%s/one", made);
	fg_autofree char *up = fg_asprintf("../../../../../../..%s/one", made);
	fg_autofree char *file = fg_asprintf("%s/one/rpmdb.sqlite", made);
	static const char *const links[] = { OLD "/rpmdb.sqlite", OLD "/rpmdb.sqlite-wal" };

	link_to(OLD, outside);
	expect("");
	gone(OLD);
	link_to(OLD, up);
	expect("");
	gone(OLD);
	link_to(links[0], file);
	expect_error(-FG_EUNREACHABLE, "is a symbolic link");
	gone(links[0]);
	install("one", OLD);
	expect(ONE);
	link_to(links[1], file);
	expect_error(-FG_EUNREACHABLE, "is a symbolic link");
	gone(links[1]);
	link_to(links[1], "rpmdb.sqlite");
	expect_error(-FG_EUNREACHABLE, "is a symbolic link");
}
END_TEST

START_TEST(no_regular_file)
{
	fg_autofree char *path = in_root(OLD "/rpmdb.sqlite");
	fg_autofree char *folder = in_root(OLD);

	ck_assert_int_eq(fg_mkdir_p(folder, 0755, NULL), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0); /* does not block */
	expect_error(-FG_EUNREACHABLE, "no regular file");
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	expect_error(-FG_EUNREACHABLE, "no regular file");
	ck_assert_int_eq(rmdir(path), 0);
	put_bytes(OLD "/rpmdb.sqlite", "", 0);
	ck_assert_int_eq(truncate(path, (off_t)FG_RPMDB_FILE_MAX + 1), 0);
	expect_error(-FG_ELIMIT, "has more than");
	ck_assert_int_eq(truncate(path, FG_RPMDB_FILE_MAX), 0);
	expect_error(-FG_EFORMAT, "file is not a database");
	unlink(path);
}
END_TEST

START_TEST(no_database)
{
	size_t len = 0;
	fg_autofree char *from = fg_asprintf("%s/one/rpmdb.sqlite", made);
	fg_autofree char *bytes = get_bytes(from, &len);

	put_bytes(OLD "/rpmdb.sqlite", "", 0);
	expect_error(-FG_EFORMAT, "it has no table Packages");
	put_bytes(OLD "/rpmdb.sqlite", "not a database, but long enough", 31);
	expect_error(-FG_EFORMAT, "not a database");
	for (size_t n = 1; n < len; n += n < 4096 ? 255 : 4096) {
		put_bytes(OLD "/rpmdb.sqlite", bytes, n);
		ck_assert_msg(read_db() < 0, "cut at %zu: %s", n, text);
	}
	put_bytes(OLD "/rpmdb.sqlite", bytes, len);
	expect(ONE);
}
END_TEST

/* No answer is right or wrong here: it ends, and touches no memory that is not its own. */
START_TEST(damaged)
{
	size_t len = 0;
	fg_autofree char *from = fg_asprintf("%s/one/rpmdb.sqlite", made);
	fg_autofree char *bytes = get_bytes(from, &len);
	uint32_t x = 2463534242u;

	for (int i = 0; i < 300; i++) {
		fg_autofree char *copy = fg_calloc(len, 1);
		memcpy(copy, bytes, len);
		for (int k = 0; k < 20; k++) {
			x = x * 1664525u + 1013904223u; /* Numerical Recipes */
			copy[k % 2 ? (x >> 8) % len : (x >> 8) % 8192] = (char)(x >> 24);
		}
		put_bytes(OLD "/rpmdb.sqlite", copy, len);
		(void)!read_db();
	}
}
END_TEST

/* What a killed rpm leaves: demo 2.0 is in the log alone. */
static void make_log(void)
{
	static const char *const parts[] = { "", "-wal" };
	fg_autofree char *path = fg_asprintf("%s/work", root);
	fg_autofree char *attach = fg_asprintf("ATTACH '%s/several/rpmdb.sqlite' AS other", made);

	install("one", OLD);
	fg_autofree char *from = in_root(OLD "/rpmdb.sqlite");
	ck_assert_int_eq(rename(from, path), 0);
	sqlite3 *db = sql_open(path);
	sql_run(db, attach);
	sql_run(db, "PRAGMA main.wal_autocheckpoint=0");
	sql_run(db, "UPDATE main.Packages SET blob = (SELECT blob FROM other.Packages WHERE hnum = 2) WHERE hnum = 1");
	for (size_t i = 0; i < FG_COUNT(parts); i++) {
		size_t len = 0;
		fg_autofree char *source = fg_asprintf("%s%s", path, parts[i]);
		fg_autofree char *to = fg_asprintf(OLD "/rpmdb.sqlite%s", parts[i]);
		fg_autofree char *bytes = get_bytes(source, &len);
		put_bytes(to, bytes, len);
		ck_assert_uint_gt(len, 4096);
	}
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

START_TEST(log_of_a_killed_rpm)
{
	size_t len = 0, db_len = 0, after_len = 0;

	make_log();
	fg_autofree char *path = in_root(OLD "/rpmdb.sqlite"), *wal = in_root(OLD "/rpmdb.sqlite-wal");
	fg_autofree char *log = get_bytes(wal, &len), *before = get_bytes(path, &db_len);
	expect("demo 2.0-1\nother 1:0.5-2\ngpg-pubkey f980010c-6b0b3c3e\n");
	ck_assert_int_eq(evaluate("rpm", "demo", "1.5"), FG_APPLIES_ALREADY);
	fg_autofree char *after = get_bytes(path, &after_len);
	ck_assert(after_len == db_len && memcmp(before, after, db_len) == 0); /* not written to */
	free(after);
	after = get_bytes(wal, &after_len);
	ck_assert(after_len == len && memcmp(log, after, len) == 0);
	for (size_t n = 0; n < len; n += 500) { /* not committed: as it was before */
		put_bytes(OLD "/rpmdb.sqlite-wal", log, n);
		expect(ONE);
	}
	log[len - 1] ^= 1; /* its checksum is wrong */
	put_bytes(OLD "/rpmdb.sqlite-wal", log, len);
	expect(ONE);
	memset(log, 0xa5, len);
	put_bytes(OLD "/rpmdb.sqlite-wal", log, len);
	expect(ONE);
	gone(OLD "/rpmdb.sqlite-wal");
	expect(ONE);
	put_bytes(OLD "/rpmdb.sqlite-wal", "", 0);
	ck_assert_int_eq(truncate(wal, (off_t)FG_RPMDB_FILE_MAX + 1), 0);
	expect_error(-FG_ELIMIT, "rpmdb.sqlite-wal has more than");
}
END_TEST

#define FORGE(type, statement)                                                                                         \
	"PRAGMA writable_schema=ON; UPDATE sqlite_schema SET type='" type "', sql='" statement "' WHERE "              \
	"name='Packages'"

START_TEST(forged_schemas)
{
	static const struct {
		const char *statements, *words;
	} forged[] = {
		{ "ALTER TABLE Packages RENAME TO p; CREATE VIEW Packages AS SELECT * FROM p", "no table Packages" },
		{ "ALTER TABLE Packages RENAME TO p; CREATE VIRTUAL TABLE Packages USING fts4(blob)",
		  "no table Packages" },
		{ "ALTER TABLE Packages RENAME TO p; CREATE VIEW packages AS WITH RECURSIVE r(blob) AS (SELECT 1 UNION "
		  "ALL "
		  "SELECT 1 FROM r) SELECT * FROM r",
		  "malformed" },
		{ FORGE("table", "CREATE VIRTUAL TABLE Packages USING dbstat"), "no table Packages" },
		{ FORGE("view", "CREATE VIEW Packages AS SELECT 1 AS blob"), "malformed" },
		{ FORGE("table", "CREATE TABLE other(hnum, blob)"), "" },
		{ FORGE("table", "CREATE TABLE Packages(hnum, blub)"), "cannot read it" },
		{ FORGE("index", "CREATE INDEX Packages ON Name(key)"), "" },
		{ "DROP TABLE Packages", "no table Packages" },
		{ "DROP TABLE Packages; CREATE TABLE Packages(hnum PRIMARY KEY, blob) WITHOUT ROWID; INSERT INTO "
		  "Packages "
		  "VALUES(1, x'00')",
		  "" },
		{ "UPDATE Packages SET blob = 7", "cannot read it" },
		{ "UPDATE Packages SET blob = x''", "package 1: it is too short" },
		{ "UPDATE Packages SET blob = 'text'", "package 1: it is too short" },
		{ "UPDATE Packages SET blob = zeroblob(3000000) WHERE hnum = 2", "package 2: it has no tags" },
		{ "UPDATE Packages SET blob = substr(blob, 1, 1000) WHERE hnum = 2",
		  "package 2: its lengths contradict each other" },
	};

	for (size_t i = 0; i < FG_COUNT(forged); i++) {
		install("one", OLD);
		sql(forged[i].statements);
		expect_error(-FG_EFORMAT, forged[i].words);
	}
}
END_TEST

/* An index that covers the question and lacks rows does not hide them; triggers and defaults that compute do not run. */
START_TEST(harmless_schemas)
{
	install("one", OLD);
	sql("CREATE INDEX i ON Packages(hnum) WHERE hnum > 7; CREATE TRIGGER t AFTER INSERT ON Packages BEGIN DELETE "
	    "FROM "
	    "Packages; END; CREATE VIEW v AS SELECT load_extension('x'); ANALYZE");
	sql("PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE INDEX i ON Packages(hnum)' WHERE "
	    "name='i'");
	expect(ONE);
}
END_TEST

START_TEST(schema_over_limits)
{
	fg_autofree char *long_name = fg_calloc(FG_RPMDB_SQL_MAX + 1, 1);

	memset(long_name, 'x', FG_RPMDB_SQL_MAX);
	fg_autofree char *create = fg_asprintf("CREATE TABLE %s(a)", long_name);
	install("one", OLD);
	sql(create);
	expect_error(-FG_ELIMIT, "string or blob too big");
	install("one", OLD); /* 60,000 tables are more than SQLite may keep */
	sql("PRAGMA writable_schema=ON; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
	    "60000) "
	    "INSERT INTO sqlite_schema SELECT 'table', 't' || i, 't' || i, 2, 'CREATE TABLE t' || i || "
	    "'(a,b,c,d,e,f,g,h)' FROM n");
	expect_error(-FG_ELIMIT, "out of memory");
}
END_TEST

/* A header of 20 MiB whose name is at its end: an offset is as good as another. */
START_TEST(huge_header)
{
	install("one", OLD);
	sql("UPDATE Packages SET blob = x'00000003' || x'01400020' || "
	    "x'000003e8000000060140000000000001' || x'000003e9000000060140000500000001' || "
	    "x'000003ea000000060140000700000001' || zeroblob(20971520) || x'64656d6f00310032' || zeroblob(24) WHERE "
	    "hnum = 1;"
	    "DELETE FROM Packages WHERE hnum > 1");
	expect("demo 1-2\n");
}
END_TEST

#define TINY                                                                                                           \
	"x'000000030000000a000003e80000000600000000000000010000"                                                       \
	"03e9000000060000000500000001000003ea00000006000000070000000164656d6f003100320000'"

START_TEST(many_packages)
{
	fg_autofree char *fill =
		fg_asprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) "
			    "INSERT INTO Packages SELECT i, " TINY " FROM n",
			    FG_RPMDB_PACKAGES_MAX);

	install("bare", OLD);
	sql(fill);
	ck_assert_int_eq(read_db(), 0);
	sql("INSERT INTO Packages VALUES(99999, " TINY ")");
	expect_error(-FG_ELIMIT, "too many packages");
}
END_TEST

static uint32_t be(const char *p, int n)
{
	uint32_t v = 0;

	for (int i = 0; i < n; i++)
		v = v << 8 | (uint8_t)p[i];
	return v;
}

/* All children of an interior page of a table (https://sqlite.org/fileformat2.html, 1.6) are child. */
static void set_children(char *page, uint32_t child)
{
	const char number[4] = { (char)(child >> 24), (char)(child >> 16), (char)(child >> 8), (char)child };
	uint32_t cells = be(page + 3, 2);

	for (uint32_t i = 0; i < cells; i++)
		memcpy(page + be(page + 12 + 2 * i, 2), number, 4);
	memcpy(page + 8, number, 4);
}

/* Pages of 512 bytes with 3000 packages on them; *n of *interior are the tree's inner pages below the root, in the file's order. */
static char *make_tree(size_t *len, uint32_t *interior, size_t max, size_t *n)
{
	fg_autofree char *path = in_root(OLD "/rpmdb.sqlite");

	install("bare", OLD);
	sql("PRAGMA journal_mode=DELETE; PRAGMA page_size=512; VACUUM");
	sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO Packages "
	    "SELECT i, " TINY " FROM n");
	char *bytes = get_bytes(path, len);
	ck_assert_uint_eq(be(bytes + 16, 2), 512);
	*n = 0;
	for (uint32_t page = 3; page < *len / 512 && *n < max; page++)
		if (bytes[512 * page] == 5)
			interior[(*n)++] = page + 1;
	ck_assert_uint_eq(*n, max);
	return bytes;
}

/* Trees that lead back to themselves or multiply: they end, with an error. */
START_TEST(circles)
{
	uint32_t interior[4];
	size_t len = 0, n = 0;
	fg_autofree char *bytes = make_tree(&len, interior, 4, &n);

	expect_error(0, "");
	for (size_t i = 0; i + 1 < n; i++) /* some 40 * 40 * 40 times the rows */
		set_children(bytes + 512 * (interior[i] - 1), interior[i + 1]);
	put_bytes(OLD "/rpmdb.sqlite", bytes, len);
	expect_error(-FG_ELIMIT, "the database goes in circles");
	set_children(bytes + 512 * (interior[0] - 1), interior[0]);
	put_bytes(OLD "/rpmdb.sqlite", bytes, len);
	expect_error(-FG_EFORMAT, "malformed");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bundle");
	TCase *t = tcase_create("rpmdb");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, setup_once, teardown_once);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_rpm_wrote);
	tcase_add_test(t, rules);
	tcase_add_test(t, one_older_is_enough);
	tcase_add_test(t, beside_dpkg);
	tcase_add_test(t, places);
	tcase_add_test(t, other_formats);
	tcase_add_test(t, links_stay_in_the_root);
	tcase_add_test(t, no_regular_file);
	tcase_add_test(t, no_database);
	tcase_add_test(t, damaged);
	tcase_add_test(t, log_of_a_killed_rpm);
	tcase_add_test(t, forged_schemas);
	tcase_add_test(t, harmless_schemas);
	tcase_add_test(t, schema_over_limits);
	tcase_add_test(t, huge_header);
	tcase_add_test(t, many_packages);
	tcase_add_test(t, circles);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
