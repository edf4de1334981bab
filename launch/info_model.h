// What weft info says of a model. Inside launch/ only.
#ifndef WEFT_LAUNCH_INFO_MODEL_H
#define WEFT_LAUNCH_INFO_MODEL_H

#include <stdio.h>

#include "model/config.h"

// `model` as for wi_info_model. *directory: it is one.
weft_status wi_config_find(const char *model, bool *directory, weft_model_config *config);

// `model` is a directory, a config.json or the name of a shape.
weft_status wi_info_model(const char *model, FILE *out);

#endif
