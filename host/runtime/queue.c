/* clCreateCommandQueue is the call that every driver from 1.2 on has. */
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS

#include "runtime/queue.h"

clq_status clqi_queue_create(clq_context *context, cl_command_queue_properties properties,
                             cl_command_queue *queue) {
  cl_int code = CL_SUCCESS;
  *queue = clCreateCommandQueue(context->cl, context->device, properties, &code);
  return clqi_context_cl(context, code, "clCreateCommandQueue");
}
