/* Which digit is it? Reads images from standard input, 64 grey levels from 0 to 16 each, and prints the digit of each and how sure it is.

       ranvier compile digits.safetensors -o build
       cc -O2 -Ibuild predict.c build/digits.o -o predict

   Preprocessing and weights are in the object: nothing else is needed where the program runs. */

#include <stdio.h>
#include <stdlib.h>

#include "digits.h"

static uint8_t images[DIGITS_CAPACITY][DIGITS_IMAGE_ELEMENTS];
static float chances[DIGITS_CAPACITY][DIGITS_PREDICTION_ELEMENTS];

/* Reads as many images as one call takes; returns their number. */
static size_t read_images(void) {
    size_t rows = 0;
    for (; rows < DIGITS_CAPACITY; rows++)
        for (size_t n = 0; n < DIGITS_IMAGE_ELEMENTS; n++)
            if (scanf("%hhu", &images[rows][n]) != 1) return rows;
    return rows;
}

static int failed(int32_t code) {
    fprintf(stderr, "%s\n", digits_error_text(code));
    return 1;
}

int main(void) {
    size_t bytes = DIGITS_WORKSPACE_BYTES(0), rows;
    void *workspace = malloc(bytes);
    digits_context *context;
    int32_t code = digits_init(workspace, bytes, 0, &context);
    if (code != DIGITS_OK) return failed(code);
    while ((rows = read_images()) > 0) {
        code = digits_predict(context, rows, images[0], rows * sizeof images[0], chances[0], rows * sizeof chances[0]);
        if (code != DIGITS_OK) return failed(code);
        for (size_t row = 0; row < rows; row++) {
            int best = 0;
            for (int digit = 1; digit < DIGITS_PREDICTION_ELEMENTS; digit++)
                if (chances[row][digit] > chances[row][best]) best = digit;
            printf("%d %.4f\n", best, chances[row][best]);
        }
    }
    free(workspace);
    return 0;
}
