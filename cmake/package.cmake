# SPDX-License-Identifier: Apache-2.0
# One Debian package, `iomesh`: programs, library, headers, units. Depends come from shlibdeps.
