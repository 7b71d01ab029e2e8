/* SPDX-License-Identifier: Apache-2.0 */
#include <iomesh/iomesh.h>

#include "base/base.h"

uint32_t iomesh_version(void)
{
    return (uint32_t)IOMESH_VERSION_MAJOR << 16 | (uint32_t)IOMESH_VERSION_MINOR << 8 |
           (uint32_t)IOMESH_VERSION_PATCH;
}

const char *iomesh_last_error(void)
{
    return base_last_error();
}

const char *iomesh_error_text(int code)
{
    return base_error_text(code);
}

int iomesh_error_posix(int code)
{
    return base_error_posix(code);
}
