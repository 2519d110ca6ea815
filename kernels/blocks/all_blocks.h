#pragma once
// Every storage type with a codec; one include for each LQ_DTYPE row of dtypes.def.
#include "kernels/blocks/bf16.h"
#include "kernels/blocks/f16.h"
#include "kernels/blocks/f32.h"
#include "kernels/blocks/q8_0.h"
