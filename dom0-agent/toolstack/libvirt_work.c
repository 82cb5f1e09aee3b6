/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Calls to libvirt, in the worker's thread. */
#include "dom0-agent/toolstack/guest.h"
#include "dom0-agent/toolstack/libvirt_private.h"
#include "dom0-agent/toolstack/libvirt_xml.h"
#include "lib/log.h"
#include "lib/util.h"

#include <libvirt/virterror.h>
#include <string.h>

static void dom_free(virDomainPtr *dom)
{
	if (*dom)
		virDomainFree(*dom);
}
#define autodom fg_cleanup(dom_free) virDomainPtr

/* "No such domain" is an answer; all else says nothing about the guest. */
static int failed(struct lv_call *call, enum fg_error_code code, const char *what)
{
	virErrorPtr error = virGetLastError();
	fg_autofree char *why = fg_strdup(error && error->message ? error->message : "unknown error");

	/* The next call to libvirt forgets the error. */
	if (error && error->code == VIR_ERR_NO_DOMAIN)
		code = FG_ENOTFOUND;
	else if (call->ts->conn && virConnectIsAlive(call->ts->conn) != 1)
		code = FG_EUNREACHABLE;
	return fg_error_set(&call->err, code, "libvirt: %s: %s", what, why);
}

static void disconnect(struct lv_ts *ts)
{
	if (!ts->conn)
		return;
	lv_events_deafen(ts);
	virConnectClose(ts->conn);
	ts->conn = NULL;
}

static int connect_to(struct lv_call *call)
{
	struct lv_ts *ts = call->ts;

	if (ts->conn && virConnectIsAlive(ts->conn) == 1)
		return 0;
	disconnect(ts);
	ts->conn = virConnectOpen(ts->uri);
	if (!ts->conn) {
		virErrorPtr error = virGetLastError();
		return fg_error_set(&call->err, FG_EUNREACHABLE, "libvirt: cannot connect to %s: %s", ts->uri,
				    error && error->message ? error->message : "unknown error");
	}
	lv_events_listen(ts);
	return 0;
}

static enum fg_guest_state state_of(virDomainPtr dom)
{
	int state = 0, reason = 0;

	if (virDomainGetState(dom, &state, &reason, 0) < 0)
		return FG_GUEST_DYING;
	switch ((virDomainState)state) {
	case VIR_DOMAIN_PAUSED:
	case VIR_DOMAIN_PMSUSPENDED:
		return FG_GUEST_PAUSED;
	case VIR_DOMAIN_SHUTOFF:
		return FG_GUEST_OFF;
	case VIR_DOMAIN_SHUTDOWN:
	case VIR_DOMAIN_CRASHED:
		return FG_GUEST_DYING;
	case VIR_DOMAIN_NOSTATE:
	case VIR_DOMAIN_RUNNING:
	case VIR_DOMAIN_BLOCKED:
		return FG_GUEST_RUNNING;
#ifdef VIR_ENUM_SENTINELS
	case VIR_DOMAIN_LAST:
		break;
#endif
	}
	return FG_GUEST_RUNNING;
}

static int guest_of(struct lv_call *call, virDomainPtr dom, struct fg_guest *out)
{
	fg_autofree char *xml = virDomainGetXMLDesc(dom, 0);

	if (!xml)
		return failed(call, FG_EUNREACHABLE, "definition of a domain");
	int rc = fg_libvirt_guest_from_xml(xml, call->ts->xen, out, &call->err);
	if (rc < 0)
		return rc;
	out->ops = &fg_toolstack_libvirt;
	out->state = state_of(dom);
	if (out->state == FG_GUEST_OFF)
		out->domid = 0;
	return 0;
}

static bool is_guest(virDomainPtr dom, bool xen)
{
	const char *name = virDomainGetName(dom);

	return name && strncmp(name, FG_FIXVM_PREFIX, strlen(FG_FIXVM_PREFIX)) != 0 &&
	       !(xen && virDomainGetID(dom) == 0); /* dom0 */
}

static int do_list(struct lv_call *call)
{
	virDomainPtr *doms = NULL;
	int n = virConnectListAllDomains(call->ts->conn, &doms, 0), rc = 0;

	if (n < 0)
		return failed(call, FG_EUNREACHABLE, "cannot list domains");
	call->guests = fg_calloc((size_t)n + 1, sizeof(*call->guests));
	for (int i = 0; i < n; i++) {
		if (rc == 0 && is_guest(doms[i], call->ts->xen)) {
			rc = guest_of(call, doms[i], &call->guests[call->n]);
			if (rc == 0)
				call->n++;
			else if (rc == -FG_ENOTFOUND) /* it went meanwhile */
				rc = 0;
			if (rc == 0)
				fg_error_clear(&call->err);
		}
		virDomainFree(doms[i]);
	}
	free(doms);
	return rc;
}

static int lookup(struct lv_call *call, virDomainPtr *out)
{
	virDomainPtr dom = virDomainLookupByUUIDString(call->ts->conn, call->uuid);

	if (!dom)
		return failed(call, FG_EUNREACHABLE, "looking for the guest");
	*out = dom;
	return 0;
}

/*
 * The xen driver reboots a guest by destroying and starting it anew, and says "off" meanwhile.  All of that is one job of
 * the driver, and setting autostart to what it is already waits for its end.  false: it did not end.
 */
static bool settle(virDomainPtr dom)
{
	int autostart = 0;

	if (virDomainGetAutostart(dom, &autostart) < 0 || virDomainSetAutostart(dom, autostart) == 0)
		return true; /* one that is not persistent is forgotten, not off */
	return virGetLastErrorCode() != VIR_ERR_OPERATION_TIMEOUT;
}

static int do_find(struct lv_call *call, virDomainPtr dom)
{
	bool settled = !call->ts->xen || state_of(dom) != FG_GUEST_OFF || settle(dom);

	call->guests = fg_calloc(1, sizeof(*call->guests));
	int rc = guest_of(call, dom, call->guests);
	if (rc < 0)
		return rc;
	call->n = 1;
	if (!settled && call->guests[0].state == FG_GUEST_OFF)
		call->guests[0].state = FG_GUEST_DYING;
	return 0;
}

static int do_save(struct lv_call *call, virDomainPtr dom)
{
	int active = virDomainIsActive(dom), persistent = virDomainIsPersistent(dom), autostart = 0;
	struct fg_guest a = { 0 }, b = { 0 };
	bool plugged = false;

	if (active < 0 || persistent < 0)
		return failed(call, FG_EUNREACHABLE, "state of the guest");
	(void)virDomainGetAutostart(dom, &autostart);
	fg_autofree char *live = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_SECURE);
	fg_autofree char *kept =
		persistent ? virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE) : NULL;
	if (!live || (persistent && !kept))
		return failed(call, FG_EUNREACHABLE, "definition of the guest");
	int rc = fg_libvirt_guest_from_xml(live, call->ts->xen, &a, &call->err);
	if (rc == 0 && kept)
		rc = fg_libvirt_guest_from_xml(kept, call->ts->xen, &b, &call->err);
	if (rc == 0 && kept)
		plugged = !fg_libvirt_same_devices(&a, &b);
	fg_guest_release(&a);
	fg_guest_release(&b);
	if (rc < 0)
		return rc;
	fg_autojson json_t *json =
		json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:s, s:s?}", "toolstack", "libvirt", "uri",
			  call->ts->uri, "uuid", call->uuid, "persistent", persistent, "autostart", autostart, "active",
			  active, "hotplugged", plugged, "live", live, "inactive", kept);
	fg_autofree char *text = json ? fg_json_dump(json) : NULL;
	if (!text || strlen(text) > FG_LIBVIRT_XML_MAX)
		return fg_error_set(&call->err, FG_ELIMIT, "definition cannot be kept: too long, or not UTF-8");
	call->text = FG_TAKE(text);
	return 0;
}

/* So that a reboot from inside ends the guest.  Only some drivers can (qemu); else the ladder's destroy ends it. */
static void no_restart(struct lv_call *call, virDomainPtr dom)
{
	if (call->ts->qemu &&
	    virDomainSetLifecycleAction(dom, VIR_DOMAIN_LIFECYCLE_REBOOT, VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
					VIR_DOMAIN_AFFECT_LIVE) < 0)
		fg_log_debug("libvirt: life-cycle action of %s: %s, ignoring", call->uuid, virGetLastErrorMessage());
}

static int do_end(struct lv_call *call, virDomainPtr dom)
{
	int rc;

	switch (call->verb) {
	case LV_SHUTDOWN:
		no_restart(call, dom);
		rc = virDomainShutdownFlags(dom, call->ts->xen ? VIR_DOMAIN_SHUTDOWN_PARAVIRT : 0);
		return rc < 0 ? failed(call, FG_EFAILED, "shutdown request") : 0;
	case LV_ACPI:
		rc = virDomainShutdownFlags(dom, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN);
		return rc < 0 ? failed(call, FG_EFAILED, "power button") : 0;
	case LV_DESTROY:
		if (virDomainDestroy(dom) == 0)
			return 0;
		/* Any other error may be that of a driver that is just restarting it. */
		bool not_active = virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID;
		rc = failed(call, FG_EFAILED, "destroying the guest");
		return not_active && virDomainIsActive(dom) == 0 ? 0 : rc;
	case LV_RESUME:
		if (state_of(dom) != FG_GUEST_PAUSED)
			return 0;
		return virDomainResume(dom) < 0 ? failed(call, FG_EFAILED, "letting the guest run") : 0;
	case LV_LIST:
	case LV_FIND:
	case LV_SAVE:
	case LV_LOOK:
	case LV_START:
	case LV_CLOSE:
		break;
	}
	return fg_error_set(&call->err, FG_EBUG, "libvirt: no such call");
}

struct definition {
	json_t *json;
	const char *live, *kept;
	bool persistent, plugged, autostart;
};

static int definition_read(struct lv_call *call, struct definition *def)
{
	const char *toolstack, *uuid;
	int rc = fg_json_parse(call->text_in, strlen(call->text_in), &def->json, &call->err);

	if (rc == 0)
		rc = fg_json_string(def->json, "toolstack", &toolstack, &call->err);
	if (rc == 0 && strcmp(toolstack, "libvirt") != 0)
		rc = fg_error_set(&call->err, FG_EFORMAT, "definition is of toolstack %s", toolstack);
	if (rc == 0)
		rc = fg_json_string(def->json, "uuid", &uuid, &call->err);
	if (rc == 0)
		rc = fg_uuid_parse(uuid, call->uuid, &call->err);
	if (rc == 0)
		rc = fg_json_string(def->json, "live", &def->live, &call->err);
	if (rc == 0)
		rc = fg_json_string_opt(def->json, "inactive", &def->kept, &call->err);
	def->persistent = json_is_true(json_object_get(def->json, "persistent"));
	def->plugged = json_is_true(json_object_get(def->json, "hotplugged"));
	def->autostart = json_is_true(json_object_get(def->json, "autostart"));
	return rc;
}

/* The guest's permanent definition was removed while it was off: put it back as it was. */
static int redefine(struct lv_call *call, const struct definition *def, virDomainPtr *dom)
{
	fg_log_warn("libvirt: guest %s is no longer defined: defining it from the journal", call->uuid);
	*dom = virDomainDefineXML(call->ts->conn, def->kept);
	if (!*dom)
		return failed(call, FG_EFAILED, "defining the guest");
	if (def->autostart)
		(void)virDomainSetAutostart(*dom, 1);
	return 0;
}

static int do_start(struct lv_call *call)
{
	struct definition def = { 0 };
	autodom dom = NULL;
	int rc = definition_read(call, &def);
	fg_autojson json_t *owned = def.json;

	(void)owned;
	if (rc == 0)
		rc = lookup(call, &dom);
	if (rc == -FG_ENOTFOUND) {
		fg_error_clear(&call->err);
		rc = def.persistent && def.kept ? redefine(call, &def, &dom) : 0;
	}
	if (rc < 0)
		return rc;
	if (dom && virDomainIsActive(dom) == 1)
		return do_find(call, dom); /* as it is */
	if (dom && !def.plugged)
		return virDomainCreateWithFlags(dom, VIR_DOMAIN_START_PAUSED) < 0
			       ? failed(call, FG_EFAILED, "starting the guest")
			       : do_find(call, dom);
	/* Transient, or with devices that were hot-plugged: from the live definition. */
	autodom made = virDomainCreateXML(call->ts->conn, def.live, VIR_DOMAIN_START_PAUSED);
	return made ? do_find(call, made) : failed(call, FG_EFAILED, "starting the guest from its live definition");
}

void lv_work(struct fg_worker_job *job)
{
	struct lv_call *call = (struct lv_call *)job;
	autodom dom = NULL;

	if (call->verb == LV_CLOSE) {
		disconnect(call->ts);
		return;
	}
	call->rc = connect_to(call);
	if (call->rc == 0 && call->verb != LV_LIST && call->verb != LV_START)
		call->rc = lookup(call, &dom);
	if (call->rc < 0)
		return;
	switch (call->verb) {
	case LV_LIST:
		call->rc = do_list(call);
		break;
	case LV_START:
		call->rc = do_start(call);
		break;
	case LV_SAVE:
		call->rc = do_save(call, dom);
		break;
	case LV_FIND:
	case LV_LOOK:
		call->rc = do_find(call, dom);
		break;
	case LV_SHUTDOWN:
	case LV_ACPI:
	case LV_DESTROY:
	case LV_RESUME:
		call->rc = do_end(call, dom);
		break;
	case LV_CLOSE:
		break;
	}
}
