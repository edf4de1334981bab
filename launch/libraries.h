// Libraries of others, asked for their versions at run time. None of their headers is needed: each is opened by name,
// and the few functions that tell a version are declared by hand. Inside launch/ only.
#ifndef WEFT_LAUNCH_LIBRARIES_H
#define WEFT_LAUNCH_LIBRARIES_H

#include "core/status.h"

enum { WI_LIBRARY_TEXT = 160 };

// "hwloc 2.9.0, jansson 2.14, glibc 2.36"
void wi_libraries_linked(char text[WI_LIBRARY_TEXT]);

// Each gives a version, or NOT_FOUND when the library is not there, or FAILED when it is and does not work.
weft_status wi_library_mpi(char text[WI_LIBRARY_TEXT]); // opens the plug-in
// "ucx", "cuda" or "nccl". Loads it into this process: use wi_probe. *number is CUDA's devices; of NCCL 228 for 2.28.
weft_status wi_library_look(const char *name, char text[WI_LIBRARY_TEXT], int *number);

// The components of Open MPI that this process has loaded for messages, "pml ob1, btl self vader"; "" when there are
// none to see, as in an MPI that is built in one piece.
void wi_library_mpi_components(char text[WI_LIBRARY_TEXT]);

#endif
