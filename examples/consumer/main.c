/* The smallest program that links CLQuant: built against an installed library
 * by find_package and by pkg-config, as a test. */
#include <stdio.h>
#include <string.h>

#include <clquant/clquant.h>

int main(void) {
  char header_version[32];
  snprintf(header_version, sizeof header_version, "%d.%d.%d", CLQ_VERSION_MAJOR, CLQ_VERSION_MINOR,
           CLQ_VERSION_PATCH);
  printf("CLQuant %s, headers %s\n", clq_version(), header_version);
  return strcmp(clq_version(), header_version) != 0;
}
