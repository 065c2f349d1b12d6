// The sum over a workgroup, for any subgroup size from 4 and workgroups of up to 256 invocations.
#extension GL_KHR_shader_subgroup_arithmetic : require

shared float subgroup_sums[64];

// Every invocation must call it, and gets the sum.
float workgroup_sum(float x) {
  const float sum = subgroupAdd(x);
  barrier();  // the sums of an earlier call have been read
  if (subgroupElect()) subgroup_sums[gl_SubgroupID] = sum;
  barrier();
  float total = 0;
  for (uint i = 0; i < gl_NumSubgroups; ++i) total += subgroup_sums[i];
  return total;
}
