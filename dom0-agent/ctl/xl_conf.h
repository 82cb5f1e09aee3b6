/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Does xl call vif-fixgate(8) for the vifs that it makes?  xl.conf(5): vif.default.script. */
#ifndef FG_CTL_XL_CONF_H
#define FG_CTL_XL_CONF_H

#include <stdbool.h>

#define FG_XL_CONF "/etc/xen/xl.conf"
#define FG_XL_SCRIPTS "/etc/xen/scripts"

/* False also if that could not be found out.  *text, malloc'd, is for people: what is set, or what to do. */
bool fg_xl_conf_check(const char *conf, const char *scripts, char **text);

#endif
