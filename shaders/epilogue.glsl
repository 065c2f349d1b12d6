// What follows a product: norm, bias, activation, gate, scale and residual (shared.h, MatmulPush).
#include "activation.glsl"

// Stores out[t][r] from the two products of row t; `up` counts only where push.up is given.
void store_product(uint t, uint r, float product, float up) {
  const uint i = t * push.out_width + r;
  float y = product;
  if (push.bias != 0) y += Floats(push.bias).at[r];
  if (push.up != 0) {
    y = gated(push.activation, y, up);
  } else if (push.gate != 0) {
    y = gated(push.activation, Floats(push.gate).at[i], y);
  } else {
    y = activate(push.activation, y);
  }
  y *= push.scale;
  if (push.row_scale != 0) y *= Floats(push.row_scale).at[t];
  if (push.add != 0) y += Floats(push.add).at[i];
  Floats(push.out_rows).at[i] = y;
}
